"""The command's parts that need no server: finding files, formats, resuming, failing."""

from __future__ import annotations

import builtins
import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from emotion2vec_client import LABELS, InvalidAudioError, Prediction, ServerUnavailableError
from emotion2vec_client.cli import common, describe, main
from emotion2vec_client.cli.resume import resume
from emotion2vec_client.cli.rows import HeadAnswer, Row, Shape
from emotion2vec_client.cli.writers import open_writer
from emotion2vec_client.result import Frames, ModelInfo, Outcome

SCORES = {label.name: (index + 1) / 45 for index, label in enumerate(LABELS)}


def prediction(weights: str = "pretrained", frames: int = 0) -> Prediction:
    """As of a server, with an embedding [3] and that many frames."""
    return Prediction(
        scores=SCORES,
        granularity="frame" if frames else "utterance",
        duration=1.0,
        weights=weights,
        embedding=np.array([0.1, 0.2, 0.3], np.float32),
        frames=Frames(
            times=np.arange(frames) * 0.02,
            scores=np.tile(np.array(list(SCORES.values()), np.float32), (frames, 1)),
            embedding=np.ones((frames, 3), np.float32),
        )
        if frames
        else None,
        timestamp=datetime(2026, 1, 2, 3, 4, 5),
    )


class FakeClient:
    """Answers by name: ``bad…`` is no audio, ``gone…`` finds no server."""

    weights = "pretrained"

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def model_info(self) -> ModelInfo:
        card = {"checkpoint": "a", "weights": self.weights, "embed_dim": 3, "sha256": "0"}
        labels = tuple(SCORES)
        return ModelInfo("a", None, self.weights, False, None, "fp32", "cpu", labels, card)

    def predict_many(
        self, items: Iterable[Path], granularity: str = "utterance", **options: Any
    ) -> Iterator[Outcome[Path]]:
        for item in items:
            if item.name.startswith("bad"):
                yield Outcome(item, None, InvalidAudioError("this is no audio: send WAV"))
            elif item.name.startswith("gone"):
                yield Outcome(item, None, ServerUnavailableError("no server is ready"))
            else:
                frames = 3 if granularity == "frame" else 0
                yield Outcome(item, prediction(self.weights, frames), None)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeClient]:
    """The client is no real one, and the test runs in an empty folder."""

    class Fake(FakeClient):
        pass

    monkeypatch.setattr(common, "Client", Fake)
    monkeypatch.chdir(tmp_path)
    return Fake


def touch(*names: str) -> list[str]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return list(names)


def test_folders_give_their_audio_sorted_and_nothing_hidden() -> None:
    touch("d/b.wav", "d/a.MP3", "d/sub/c.webm", "d/notes.txt", "d/.hidden.wav", "d/.git/x.wav")
    assert common.find_audio(["d"]) == [Path("d/a.MP3"), Path("d/b.wav"), Path("d/sub/c.webm")]


def test_patterns_names_and_stdin_come_in_the_order_of_the_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch("x1.wav", "x2.wav", "[odd].wav", "sub/x3.wav")
    monkeypatch.setattr("sys.stdin", io.StringIO("two words.wav\n\nb.wav\n"))
    found = common.find_audio(["x*.wav", "-", "missing.wav", "[odd].wav", "**/x3.wav"])
    assert [str(path) for path in found] == [
        *("x1.wav", "x2.wav", "two words.wav", "b.wav", "missing.wav", "[odd].wav", "sub/x3.wav")
    ]


def test_a_loop_of_links_is_not_followed() -> None:
    touch("d/a.wav")
    os.symlink("..", "d/loop")
    assert common.find_audio(["d"]) == [Path("d/a.wav")]


@pytest.mark.parametrize("argument", ["empty", "*.wav", "-"])
def test_nothing_found_is_wrong_usage(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(typer.BadParameter):
        common.find_audio([argument])
    assert main(["predict", argument]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_rows_are_json_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "bad.wav", "--embedding"]) == 1
    captured = capsys.readouterr()
    good, bad = map(json.loads, captured.out.splitlines())
    assert list(good)[:2] == ["file", "emotion"]
    assert np.float32(good["embedding"]).tolist() == prediction().embedding.tolist()
    assert bad == {
        "file": "bad.wav",
        "error": "this is no audio: send WAV",
        "error_type": "InvalidAudioError",
    }
    assert captured.err == "emotion2vec: 1 of 2 files failed: see their rows\n"


def test_csv_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "bad.wav", "--format", "csv", "--embedding"]) == 1
    good, bad = csv.DictReader(capsys.readouterr().out.splitlines())
    names = ["file", "emotion", "confidence", *SCORES, "weights", "timestamp", "error"]
    assert list(good) == [*names, "e0", "e1", "e2"]
    assert (good["emotion"], good["timestamp"]) == ("unknown", "2026-01-02 03:04:05")
    assert [good["e0"], good["e2"]] == ["0.100000001", "0.300000012"]
    assert {name for name, value in bad.items() if value} == {"file", "error"}


def test_csv_has_a_row_per_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "--format", "csv", "--granularity", "frame"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["time"] for row in rows] == ["0.0", "0.02", "0.04"]
    assert {row["file"] for row in rows} == {"a.wav"}


@pytest.mark.parametrize("weights", ["random", "pretrained"])
@pytest.mark.parametrize("options", [["--format", "table"], ["--format", "jsonl"], ["--json"]])
def test_random_weights_are_warned_of_once(
    weights: str,
    options: list[str],
    fake: type[FakeClient],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.weights = weights
    # One file would be bars, which hold the warning themselves.
    files = touch("a.wav", "b.wav") if "table" in options else touch("a.wav")
    assert main(["predict", *files, *options]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("RANDOM WEIGHTS") == (weights == "random")
    assert ("RANDOM" in captured.out) == (weights == "random" and "table" in options)


def test_a_table_shows_failures_and_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    touch("sub/[red]a.wav")
    assert main(["predict", "sub/[red]a.wav", "bad.wav", "--format", "table"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("sub/[red]a.wav")
    assert "❓ 未知 unknown" in lines[1]
    assert "this is no audio" in lines[2]


def test_the_scores_of_a_head_are_shown_below() -> None:
    head = HeadAnswer("tense", {"calm": 0.25, "tense": 0.75})
    lines = describe(prediction(), head).splitlines()[-4:]
    assert lines == ["head: tense", "", f"tense  75.0 % {'█' * 30}", f"calm   25.0 % {'█' * 10}"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.wav", "--resume"], "add -o"),
        (["a.wav", "-o", "x.txt"], "add --format"),
        (["a.wav", "-o", "x.parquet", "--resume"], "cannot be appended to"),
        (["a.wav", "--format", "parquet"], "add -o"),
        (["a.wav", "--format", "table", "-o", "x.txt"], "for the terminal"),
        (["a.wav", "b.wav", "--json"], "for one file"),
        (["a.wav", "--json", "-o", "x.jsonl"], "for the terminal"),
        (["a.wav", "--granularity", "word"], "--granularity"),
        (["a.wav", "--concurrency", "0"], "--concurrency"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *arguments]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize(
    "command", [["predict"], ["info"], ["similarity"], ["map"], ["cluster"], ["head", "fit"], []]
)
def test_every_command_has_help_with_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    assert "Example: emotion2vec" in capsys.readouterr().out


def test_without_typer_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "typer":
            raise ModuleNotFoundError("No module named 'typer'", name="typer")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["predict", "a.wav"]) == 1
    assert "pip install './client[cli]'" in capsys.readouterr().err


def test_a_server_that_goes_away_ends_the_run_and_leaves_what_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["predict", "a.wav", "gone.wav", "b.wav", "-o", "x.jsonl"]) == 1
    assert capsys.readouterr().err == "emotion2vec: no server is ready\n"
    assert [row["file"] for row in read("x.jsonl")] == ["a.wav"]


def read(name: str) -> list[dict[str, Any]]:
    if name.endswith(".csv"):
        with open(name, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]


ODD_NAMES = ["two\nlines.wav", 'q"uote,.wav', os.fsdecode(b"by\xffte.wav"), "中文.wav"]


@pytest.mark.parametrize("output", ["x.jsonl", "x.csv"])
@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_resume_does_each_file_once_wherever_it_was_cut(output: str, granularity: str) -> None:
    files = ["a.wav", "bad.wav", *ODD_NAMES]
    options = ["--granularity", granularity, "-o", output]
    assert main(["predict", *files, *options]) == 1
    whole = Path(output).read_bytes()
    expected = sorted((row["file"], row.get("time")) for row in read(output))
    # Around every end of a line, and here and there within.
    ends = {end + near for end in range(len(whole)) if whole[end] == 10 for near in (0, 1, 2)}
    for cut in sorted(ends.union(range(0, len(whole), 199)) - {len(whole) + 1}):
        Path(output).write_bytes(whole[:cut])
        assert main(["predict", *files, *options, "--resume"]) == 1
        assert sorted((row["file"], row.get("time")) for row in read(output)) == expected
    assert os.listdir() == [output]


def test_resume_tries_failures_again_and_nothing_else(fake: type[FakeClient]) -> None:
    asked: list[str] = []
    original = fake.predict_many

    def note(self: FakeClient, items: Iterable[Path], **options: Any) -> Any:
        def noted() -> Iterator[Path]:
            for item in items:
                asked.append(item.name)
                yield item

        return original(self, noted(), **options)

    fake.predict_many = note
    arguments = ["predict", "a.wav", "bad.wav", "b.wav", "-o", "x.jsonl", "--resume"]
    assert [main(arguments), main(arguments)] == [1, 1]
    assert asked == ["a.wav", "bad.wav", "b.wav", "bad.wav"]
    assert [row["file"] for row in read("x.jsonl")] == ["a.wav", "b.wav", "bad.wav"]


@pytest.mark.parametrize("output", ["x.jsonl", "x.csv"])
@pytest.mark.parametrize("change", [["--embedding"], ["--granularity", "frame"]])
def test_resume_refuses_rows_of_another_kind(
    output: str, change: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "a.wav", "-o", output]) == 0
    before = Path(output).read_bytes()
    assert main(["predict", "b.wav", "-o", output, "--resume", *change]) == 2
    assert "holds other rows" in capsys.readouterr().err
    assert Path(output).read_bytes() == before


@pytest.mark.parametrize("content", ["[1]\n", "text\n", '{"a": 1}\n', '{"error": 1}\n', "3\n"])
@pytest.mark.parametrize("output", ["x.jsonl", "x.csv"])
def test_resume_refuses_a_file_of_something_else(content: str, output: str) -> None:
    Path(output).write_text(content)
    with pytest.raises(typer.BadParameter, match="holds other rows"):
        resume(Path(output), output[2:], Shape())
    assert Path(output).read_text() == content


def test_parquet_replaces_its_file_only_when_complete() -> None:
    path = Path("x.parquet")
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), open_writer("parquet", path, Shape(), False) as writer:
        writer.write(Row("a.wav", prediction()))
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with open_writer("parquet", path, Shape(), False) as writer:
        writer.write(Row("a.wav", prediction()))
    assert path.read_bytes()[:4] == b"PAR1"
    assert os.listdir() == ["x.parquet"]


def test_info_tells_the_model(fake: type[FakeClient], capsys: pytest.CaptureFixture[str]) -> None:
    fake.weights = "random"
    assert main(["info", "--json"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert (facts["checkpoint"], facts["weights"]) == ("a", "random")
    assert facts["labels"] == list(SCORES)
    assert "RANDOM WEIGHTS" in captured.err
    assert main(["info"]) == 0
    assert "checkpoint  a\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("published", "license", "told"),
    [
        (True, ("own", "link"), ["published   yes, with the known size", "license     own link\n"]),
        (False, None, ["published   no: model.pt has 1 byte\n", "license     –\n"]),
        (None, None, ["published   not known\n"]),
    ],
)
def test_info_tells_where_the_weights_come_from_and_their_licence(
    fake: type[FakeClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    published: bool | None,
    license: tuple[str, str] | None,
    told: list[str],
) -> None:
    info = fake("localhost:8001").model_info()
    differs = ["model.pt has 1 byte"] if published is False else []
    card = {**info.card, "differs": differs}
    other = dataclasses.replace(info, published=published, license=license, card=card)
    monkeypatch.setattr(fake, "model_info", lambda self: other)
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert all(line in out for line in told), out


def test_embed_gives_what_worked_and_names_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    client = common.connect("localhost:8001")
    embedded = common.embed(client, [Path("a.wav"), Path("bad.wav"), Path("b.wav")])
    assert embedded.paths == [Path("a.wav"), Path("b.wav")]
    assert embedded.embeddings.shape == (2, 3)
    assert len(embedded.predictions) == 2
    assert [failure.item for failure in embedded.failures] == [Path("bad.wav")]
    assert capsys.readouterr().err == "emotion2vec: bad.wav: this is no audio: send WAV\n"


def test_embed_warns_once_however_often_it_is_called(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.weights = "random"
    client = common.connect("localhost:8001")
    for name in ("a.wav", "b.wav"):
        common.embed(client, [Path(name)])
    assert capsys.readouterr().err.count("RANDOM WEIGHTS") == 1
