"""The command with the real server, on a terminal and in scripts."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from benchmarks.launch import PATIENCE
from emotion2vec_client import LABELS, Client
from emotion2vec_client.analysis.head import Head, Origin
from emotion2vec_client.cli import main
from tests.conftest import SAMPLES, SUFFIXES, recordings
from tests.integration.terminal import COMMAND, on_a_terminal

HAPPY = SAMPLES / "happy.wav"
PREDICT = [*COMMAND, "predict"]


def json_rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_file_on_a_terminal_is_shown_with_nine_bars(url: str) -> None:
    head, _, *bars = on_a_terminal(str(HAPPY), "--url", url).strip().split("\n")
    best = next(label for label in LABELS if label.name in head)
    assert head.startswith(f"{best.emoji}  {best.chinese} / {best.name} ")
    assert len(bars) == 9
    assert bars[0].startswith(f"{best.emoji} {best.chinese} {best.name}")
    lengths = [line.count("█") for line in bars]
    assert lengths == sorted(lengths, reverse=True)


def test_one_file_as_a_table_is_bars_in_a_pipe_too(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make run` shows it so, wherever its output goes."""
    assert main(["predict", str(HAPPY), "--url", url, "--format", "table"]) == 0
    assert capsys.readouterr().out.count("%") == 10


def test_several_files_on_a_terminal_are_a_table(url: str) -> None:
    files = recordings()[:3]
    text = on_a_terminal(*map(str, files), "--url", url)
    assert all(path.name in text for path in files)
    assert "█" in text


def test_json_of_one_file(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--url", url, "--json", "--granularity", "frame"]
    assert main(["predict", str(HAPPY), *options]) == 0
    assert json.loads(capsys.readouterr().out)["granularity"] == "frame"


def test_json_of_one_file_that_fails_is_one_sentence(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.wav").write_text("no audio " * 100)
    for path in (tmp_path / "text.wav", tmp_path / "missing.wav"):
        assert main(["predict", str(path), "--url", url, "--json"]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("emotion2vec: ")
        assert captured.err.count("\n") == 1
        assert not captured.out


def test_rows_come_in_order_with_the_clients_answers(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.wav").write_text("no audio " * 100)
    files = [*recordings(), tmp_path / "text.wav", tmp_path / "missing.wav", HAPPY]
    assert main(["predict", *map(str, files), "--url", url, "--embedding"]) == 1
    rows = json_rows(capsys.readouterr().out)
    assert [row["file"] for row in rows] == [str(path) for path in files]
    assert [row.get("error_type") for row in rows[-3:]] == [
        *("InvalidAudioError", "FileNotFoundError", None)
    ]
    answer = client.predict(HAPPY, embedding=True)
    assert rows[-1]["emotion"] == answer.emotion
    assert rows[-1]["scores"] == pytest.approx(dict(answer.scores), abs=1e-5)
    assert answer.embedding is not None
    np.testing.assert_allclose(rows[-1]["embedding"], answer.embedding, atol=1e-4)


def test_names_come_on_stdin(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "".join(f"{path}\n" for path in recordings()[:3])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(names.encode())))
    assert main(["predict", "-", "--url", url]) == 0
    answer = capsys.readouterr()
    assert [row["file"] for row in json_rows(answer.out)] == names.splitlines()
    assert not answer.err


def test_csv_and_parquet_hold_the_same(url: str, tmp_path: Path) -> None:
    options = ["--url", url, "--embedding", "--granularity", "frame"]
    for name in ("x.csv", "x.parquet"):
        output = str(tmp_path / name)
        assert main(["predict", str(HAPPY), "missing.wav", "-o", output, *options]) == 1
    table = parquet.read_table(tmp_path / "x.parquet")
    flat = table.to_pylist()
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(flat) > 100
    assert (rows[-1]["file"], rows[-1]["emotion"]) == ("missing.wav", "")
    assert "No such file" in flat[-1]["error"]
    for row, other in zip(rows[:-1], flat[:-1], strict=True):
        assert (row["file"], row["emotion"]) == (other["file"], other["emotion"])
        assert float(row["time"]) == other["time"]
        scores = [float(row[label.name]) for label in LABELS]
        np.testing.assert_allclose(scores, [other[label.name] for label in LABELS], atol=1e-5)
        embedding = [float(row[f"e{index}"]) for index in range(len(other["embedding"]))]
        np.testing.assert_allclose(embedding, other["embedding"], atol=1e-4)


def test_a_head_adds_its_labels(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = client.model_info()
    width = info.card["embed_dim"]
    weights = np.random.default_rng(0).standard_normal((2, width))
    head = Head(
        ("calm", "tense"), np.zeros(width), np.ones(width), weights, np.zeros(2),
        Origin.of_card(info.card),
    )  # fmt: skip
    head.save(tmp_path / "stress.json")
    options = ["--url", url, "--head", str(tmp_path / "stress.json")]
    assert main(["predict", str(SAMPLES), *options]) == 0
    for row in json_rows(capsys.readouterr().out):
        scores = row["heads"]["stress"]["scores"]
        assert sum(scores.values()) == pytest.approx(1)
        assert row["heads"]["stress"]["label"] == max(scores, key=scores.get)
        assert "embedding" not in row
    assert main(["predict", str(HAPPY), *options, "--format", "csv"]) == 0
    assert "stress_label,stress_calm,stress_tense" in capsys.readouterr().out


def test_ctrl_c_leaves_a_file_that_resume_completes(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for index in range(45):
        (folder / f"{index:04}{HAPPY.suffix}").symlink_to(HAPPY)
    output = tmp_path / "x.jsonl"
    # The names come through a pipe that stays open, so that the command cannot finish too early.
    arguments = ["-", "--url", url, "-o", str(output), "--concurrency", "4"]
    files = [str(path) for path in sorted(folder.iterdir())]
    with subprocess.Popen(
        [*PREDICT, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for name in files[:40]:
            process.stdin.write(name + "\n")
        process.stdin.flush()
        while not output.exists() or output.read_text().count("\n") < 5:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        told = process.stderr.read().strip().splitlines()[-1]
    before = json_rows(output.read_text())
    assert told == (
        f"emotion2vec: interrupted: {len(before)} files are in {output}: run it again with "
        "--resume to continue"
    )
    assert 5 <= len(before) <= 40
    arguments = [str(folder), "--url", url, "-o", str(output), "--resume"]
    assert main(["predict", *arguments]) == 0
    rows = json_rows(output.read_text())
    assert rows[: len(before)] == before
    assert sorted(row["file"] for row in rows) == files


def test_info_tells_what_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--url", url, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["weights"], facts["precision"]) == ("pretrained", "fp32")


def test_completion_is_offered() -> None:
    script = subprocess.run(
        [*COMMAND, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "_EMOTION2VEC_COMPLETE=complete_bash" in script.stdout


def test_similarity_against_the_server(
    url: str, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    files = recordings()[:3]
    assert main(["similarity", *map(str, files), "--json", "--url", url]) == 0
    answer = json.loads(capsys.readouterr().out)
    one, other = (client.predict(path, embedding=True).embedding for path in files[:2])
    assert one is not None and other is not None
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert answer["raw"][0][1] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_map_against_the_server(url: str, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"map.{suffix}"
    files = recordings()[:4]
    assert main(["map", *map(str, files), "-o", str(target), "--url", url]) == 0
    data = target.read_bytes()
    if suffix == "png":
        assert data.startswith(b"\x89PNG")
    else:
        assert all(path.name.encode() in data for path in files)


def test_cluster_against_the_server(url: str, tmp_path: Path) -> None:
    target = tmp_path / "clusters.csv"
    assert main(["cluster", str(SAMPLES), "-k", "3", "-o", str(target), "--url", url]) == 0
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    inside = {path for path in SAMPLES.rglob("*") if path.suffix in SUFFIXES}
    assert {Path(row["file"]) for row in rows} == inside
    assert len({row["cluster"] for row in rows}) == 3


def test_a_head_fitted_on_the_server_predicts_what_it_was_taught(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {path: "long" if path.stat().st_size % 2 else "short" for path in recordings()}
    table = tmp_path / "labels.csv"
    rows = [f"{path},{label}" for path, label in labels.items()]
    table.write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    head = tmp_path / "head.json"
    assert main(["head", "fit", str(table), "-o", str(head), "--url", url]) == 0
    capsys.readouterr()
    options = ["--head", str(head), "--format", "jsonl", "--url", url]
    assert main(["predict", *map(str, labels), *options]) == 0
    answers = json_rows(capsys.readouterr().out)
    # A linear head can separate any two groups of ten recordings in 64 dimensions.
    assert [answer["heads"]["head"]["label"] for answer in answers] == list(labels.values())
