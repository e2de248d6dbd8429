"""The command without a server: rows, tables, wrong usage, info."""

from __future__ import annotations

import builtins
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec_client._decision import Decision, Decisions
from emotion2vec_client.cli import describe, main
from emotion2vec_client.cli.connection import Connection
from emotion2vec_client.cli.embeddings import embed
from tests.unit.cli_fakes import SCORES, FakeClient, fake, prediction, touch

__all__ = ["fake"]


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
    assert captured.err == "emotion2vec: 1 of 2 files failed: see its row\n"


@pytest.mark.parametrize(
    ("files", "options", "told"),
    [
        (["bad.wav"], [], "1 file failed: see its row"),
        (["bad.wav", "bad2.wav"], [], "2 of 2 files failed: see their rows"),
        (["a.wav", "bad.wav"], ["--format", "table"], "1 of 2 files failed: see the table"),
    ],
)
def test_failures_are_counted_in_english(
    files: list[str], options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *files, *options]) == 1
    assert capsys.readouterr().err == f"emotion2vec: {told}\n"


def test_help_shows_no_type_for_what_takes_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["predict"], ["timeline"], ["similarity"]):
        assert main([*command, "--help"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "bool" in line.lower()]
        assert not [line for line in lines if "--help" not in line and "-completion" not in line]


def test_csv_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "bad.wav", "--format", "csv", "--embedding"]) == 1
    good, bad = csv.DictReader(capsys.readouterr().out.splitlines())
    names = ["file", "emotion", "confidence", *SCORES, "duration", "weights", "timestamp", "error"]
    assert list(good) == [*names, "e0", "e1", "e2"]
    assert (good["emotion"], good["timestamp"]) == ("unknown", "2026-01-02T03:04:05+08:00")
    assert good["duration"] == "1.0"
    assert [good["e0"], good["e2"]] == ["0.100000001", "0.300000012"]
    assert {name for name, value in bad.items() if value} == {"file", "error"}


def test_csv_has_a_row_per_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "--format", "csv", "--granularity", "frame"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["time"] for row in rows] == ["0.0", "0.02", "0.04", "0.06"]
    assert {row["file"] for row in rows} == {"a.wav"}


@pytest.mark.parametrize("weights", ["random", "demonstration", "pretrained"])
@pytest.mark.parametrize("command", ["predict", "timeline"])
@pytest.mark.parametrize(
    "options",
    [
        ["--format", "table", "2"],
        ["--format", "table", "1"],
        ["--format", "jsonl", "1"],
        ["--json", "1"],
    ],
    ids=" ".join,
)
def test_weights_other_than_emotion2vecs_are_warned_of_once(
    command: str,
    weights: str,
    options: list[str],
    fake: type[FakeClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    fake.weights = weights
    count = options[-1]
    assert main([command, *touch("a.wav", "b.wav")[: int(count)], *options[:-1]]) == 0
    captured = capsys.readouterr()
    told = {"random": "RANDOM WEIGHTS", "demonstration": "mean recall 66 % over seven emotions"}
    for kind, words in told.items():
        assert captured.err.count(words) == (weights == kind)
        assert words not in captured.out
    # In two languages; line breaks must not split the command.
    assert captured.err.count("'make export'") == 2 * (weights in told)


def test_a_table_shows_failures_and_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    touch("sub/[red]a.wav")
    assert main(["predict", "sub/[red]a.wav", "bad.wav", "--format", "table"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("sub/[red]a.wav")
    assert "❓ 未知 unknown" in lines[1]
    assert "this is no audio" in lines[2]


def test_the_scores_of_a_policy_and_of_heads_are_shown_below() -> None:
    stress = Decision("tense", 0.75, {"calm": 0.25, "tense": 0.75})
    policy = Decision("bad", 0.5, {"bad": 0.5, "good": 0.5}, {"zh": "坏"})
    judged = dataclasses.replace(prediction(), decisions=Decisions(policy, {"stress": stress}))
    policy_bars = ["policy: bad / 坏", "", f"bad   50.0 % {'█' * 20}", f"good  50.0 % {'█' * 20}"]
    stress_bars = ["stress: tense", "", f"tense  75.0 % {'█' * 30}", f"calm   25.0 % {'█' * 10}"]
    assert describe(judged).splitlines()[-9:] == [*policy_bars, "", *stress_bars]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.wav", "--resume"], "add -o"),
        (["a.wav", "--overwrite"], "add -o"),
        (["a.wav", "-o", "x.jsonl", "--resume", "--overwrite"], "give one of them"),
        (["a.wav", "--format", "table", "--embedding"], "do not fit a terminal"),
        (["a.wav", "-o", "nowhere/x.csv"], "there is no folder nowhere"),
        (["a.wav", "-0"], "give - for them"),
        (["a.wav", "-o", "x.txt"], "add --format"),
        (["a.wav", "-o", "x.parquet", "--resume"], "cannot be appended to"),
        (["a.wav", "--format", "parquet"], "add -o"),
        (["a.wav", "--format", "table", "-o", "x.txt"], "for the terminal"),
        (["a.wav", "b.wav", "--json"], "for one file"),
        (["a.wav", "--json", "-o", "x.jsonl"], "for the terminal"),
        (["a.wav", "--granularity", "word"], "emotion2vec: --granularity: 'word' is not one of"),
        (["a.wav", "--concurrency", "0"], "emotion2vec: --concurrency: "),
        (["a.wav", "-o", "x.csv", "--format", "jsonl"], "contradicts the extension of x.csv"),
        (["a.wav", "--head", "none.json"], "cannot use none.json: No such file"),
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
    "command",
    [
        ["predict"],
        ["timeline"],
        ["info"],
        ["similarity"],
        ["map"],
        ["cluster"],
        ["head", "fit"],
        [],
    ],
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
    client = Connection().open()
    embedded = embed(client, [Path("a.wav"), Path("bad.wav"), Path("b.wav")])
    assert embedded.paths == [Path("a.wav"), Path("b.wav")]
    assert embedded.embeddings.shape == (2, 3)
    assert len(embedded.predictions) == 2
    assert [failure.item for failure in embedded.failures] == [Path("bad.wav")]
    assert capsys.readouterr().err == "emotion2vec: bad.wav: this is no audio: send WAV\n"


def test_embed_warns_once_however_often_it_is_called(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.weights = "random"
    client = Connection().open()
    for name in ("a.wav", "b.wav"):
        embed(client, [Path(name)])
    assert capsys.readouterr().err.count("RANDOM WEIGHTS") == 1
