"""Rows in a file: which are kept, which are resumed, and what the command reports."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import typer
from pyarrow import parquet

from emotion2vec_client.cli import main
from emotion2vec_client.cli.resume import resume
from emotion2vec_client.cli.rows import PredictionShape, Row, TimelineShape
from emotion2vec_client.cli.writers import CsvWriter, JsonlWriter, open_writer
from tests.unit.cli_fakes import WHEN, FakeClient, fake, prediction, read, timeline

__all__ = ["fake"]


COMMANDS = [["predict"], ["predict", "--granularity", "frame"], ["timeline"]]

commands = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
outputs = pytest.mark.parametrize("output", ["x.jsonl", "x.csv"])


@commands
def test_a_server_that_goes_away_ends_the_run_and_names_resume(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "a.wav", "gone.wav", "b.wav", "-o", "x.jsonl"]) == 1
    assert capsys.readouterr().err == (
        "emotion2vec: no server is ready; 1 of 3 files are in x.jsonl: run it again with --resume "
        "to continue\n"
    )
    assert [row["file"] for row in read("x.jsonl")] == ["a.wav"]


def interrupt_at(name: str, written: Callable[[], bool]) -> Callable[[Path], None]:
    """Presses Ctrl-C when the client sends this file and the earlier rows are written."""

    def asked(path: Path) -> None:
        if path.name == name:
            while not written():
                pass
            os.kill(os.getpid(), signal.SIGINT)

    return asked


@commands
@outputs
def test_ctrl_c_says_how_far_it_came_and_how_to_go_on(
    command: list[str],
    output: str,
    fake: type[FakeClient],
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = ["a.wav", "b.wav", "c.wav", "stop.wav", "d.wav"]

    def written() -> bool:
        return Path(output).exists() and {row["file"] for row in read(output)} == set(files[:3])

    fake.asked = staticmethod(interrupt_at("stop.wav", written))
    # One at a time, so that the number of finished files is certain.
    assert main([*command, *files, "-o", output, "--concurrency", "1"]) == 130
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told == (
        f"emotion2vec: interrupted: 3 of 5 files are in {output}: run it again with --resume to "
        "continue"
    )
    fake.asked = staticmethod(lambda path: None)
    assert main([*command, *files, "-o", output, "--resume"]) == 0
    assert " done before\n" in capsys.readouterr().err
    assert {row["file"] for row in read(output)} == set(files)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("output", "kind"), [("x.jsonl", JsonlWriter), ("x.csv", CsvWriter)])
def test_ctrl_c_while_a_row_is_written_counts_it(
    output: str,
    kind: type[JsonlWriter | CsvWriter],
    late: bool,
    fake: type[FakeClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"]
    write = kind.write

    def interrupted(writer: Any, row: Row) -> int:
        if row.file == "c.wav" and not late:
            os.kill(os.getpid(), signal.SIGINT)
        rows = write(writer, row)
        if row.file == "c.wav" and late:
            os.kill(os.getpid(), signal.SIGINT)
        return rows

    monkeypatch.setattr(kind, "write", interrupted)
    assert main(["predict", *files, "-o", output]) == 130
    assert {row["file"] for row in read(output)} == set(files[:3])
    assert "interrupted: 3 of 5 files are in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-o", "x.parquet"], "but none is in x.parquet, which is written at the end: JSONL and"),
        (["--format", "table"], "but nothing was written: add -o emotions.jsonl to keep rows"),
        ([], "of 2 files were done"),
    ],
)
def test_ctrl_c_says_what_is_lost(
    options: list[str],
    told: str,
    fake: type[FakeClient],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.asked = staticmethod(interrupt_at("stop.wav", lambda: True))
    assert main(["predict", "a.wav", "stop.wav", *options]) == 130
    assert told in capsys.readouterr().err
    assert not Path("x.parquet").exists()


@commands
@outputs
def test_finished_rows_are_not_overwritten_unasked(
    command: list[str], output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["a.wav", "b.wav"]
    assert main([*command, *files, "-o", output]) == 0
    before = Path(output).read_bytes()
    capsys.readouterr()
    assert main([*command, "c.wav", "d.wav", "-o", output]) == 2
    told = capsys.readouterr().err
    assert "already has rows: add --resume to continue it, or add --overwrite" in told
    assert Path(output).read_bytes() == before
    assert main([*command, "c.wav", "d.wav", "-o", output, "--overwrite"]) == 0
    assert {row["file"] for row in read(output)} == {"c.wav", "d.wav"}


def test_a_finished_parquet_is_not_overwritten_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "-o", "x.parquet"]) == 0
    assert main(["predict", "a.wav", "-o", "x.parquet"]) == 2
    told = capsys.readouterr().err
    assert "already has rows: add --overwrite" in told and "--resume" not in told
    assert main(["predict", "a.wav", "-o", "x.parquet", "--overwrite"]) == 0
    # An empty file has nothing to lose.
    Path("y.csv").touch()
    assert main(["predict", "a.wav", "-o", "y.csv"]) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "a.wav", "-o", "x.jsonl"], "wrote 1 row to x.jsonl\n"),
        (["predict", *"abc", "-o", "x.parquet"], "wrote 3 rows to x.parquet\n"),
        (
            ["predict", "a", "bad", "-o", "x.csv", "--granularity", "frame"],
            "wrote 5 rows of 2 files to x.csv; 1 file failed: see its row\n",
        ),
        (["timeline", "a", "b", "-o", "x.csv"], "wrote 4 rows of 2 files to x.csv\n"),
        (["timeline", "a", "b", "-o", "x.jsonl"], "wrote 2 rows to x.jsonl\n"),
        (["timeline", "a", "-o", "x.srt", "-o", "x.json"], "wrote x.srt, x.json\n"),
    ],
)
def test_the_last_line_says_what_was_written(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ("bad" in arguments)
    assert capsys.readouterr().err == told


ODD_NAMES = ["two\nlines.wav", 'q"uote,.wav', os.fsdecode(b"by\xffte.wav"), "中文.wav"]


@commands
@outputs
def test_resume_does_each_file_once_wherever_it_was_cut(output: str, command: list[str]) -> None:
    files = ["a.wav", "bad.wav", "silent.wav", *ODD_NAMES]
    assert main([*command, *files, "-o", output]) == 1

    def found() -> list[tuple[str, str]]:
        return sorted(
            (row["file"], row.get("time") or row.get("start") or "") for row in read(output)
        )

    whole = Path(output).read_bytes()
    expected = found()
    # Cut around every end of a line, and at some places within lines.
    ends = {end + near for end in range(len(whole)) if whole[end] == 10 for near in (0, 1, 2)}
    for cut in sorted(ends.union(range(0, len(whole), 199)) - {len(whole) + 1}):
        Path(output).write_bytes(whole[:cut])
        assert main([*command, *files, "-o", output, "--resume"]) == 1
        assert found() == expected
    assert os.listdir() == [output]


def test_resume_tries_failures_again_and_nothing_else(fake: type[FakeClient]) -> None:
    asked: list[str] = []
    fake.asked = staticmethod(lambda path: asked.append(path.name))
    arguments = ["predict", "a.wav", "bad.wav", "b.wav", "-o", "x.jsonl", "--resume"]
    assert [main(arguments), main(arguments)] == [1, 1]
    assert asked == ["a.wav", "bad.wav", "b.wav", "bad.wav"]
    assert [row["file"] for row in read("x.jsonl")] == ["a.wav", "b.wav", "bad.wav"]


@pytest.mark.parametrize("command", ["predict", "timeline"])
def test_resume_continues_a_file_of_an_older_version(command: str) -> None:
    assert main([command, "a.wav", "-o", "x.jsonl"]) == 0
    [row] = read("x.jsonl")
    assert row["timestamp"] == WHEN.isoformat()
    # Older versions wrote the local time without its offset.
    old = json.dumps({**row, "timestamp": "2026-01-02 03:04:05"}) + "\n"
    Path("x.jsonl").write_text(old, encoding="utf-8")
    assert main([command, "a.wav", "b.wav", "-o", "x.jsonl", "--resume"]) == 0
    assert Path("x.jsonl").read_text(encoding="utf-8").startswith(old)
    assert [row["file"] for row in read("x.jsonl")] == ["a.wav", "b.wav"]


@outputs
@pytest.mark.parametrize("change", [["--embedding"], ["--granularity", "frame"]])
def test_resume_refuses_rows_of_another_kind(
    output: str, change: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "a.wav", "-o", output]) == 0
    before = Path(output).read_bytes()
    assert main(["predict", "b.wav", "-o", output, "--resume", *change]) == 2
    assert main(["timeline", "b.wav", "-o", output, "--resume"]) == 2
    assert capsys.readouterr().err.count("has rows that other options made") == 2
    assert Path(output).read_bytes() == before


@pytest.mark.parametrize("change", [["--embedding"], ["--window", "3"]])
def test_resume_refuses_timelines_of_another_kind(
    change: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", "a.wav", "-o", "x.jsonl"]) == 0
    assert main(["timeline", "b.wav", "-o", "x.jsonl", "--resume", *change]) == 2
    assert "has rows that other options made" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[1]\n", "text\n", '{"a": 1}\n', '{"error": 1}\n', "3\n"])
@outputs
def test_resume_refuses_a_file_of_something_else(content: str, output: str) -> None:
    Path(output).write_text(content)
    with pytest.raises(typer.BadParameter, match="has rows that other options made"):
        resume(Path(output), output[2:], PredictionShape())
    assert Path(output).read_text() == content


def test_parquet_replaces_its_file_only_when_complete() -> None:
    path = Path("x.parquet")
    path.write_text("old")
    with (
        pytest.raises(KeyboardInterrupt),
        open_writer("parquet", path, PredictionShape(), False) as writer,
    ):
        writer.write(Row("a.wav", prediction()))
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with open_writer("parquet", path, PredictionShape(), False) as writer:
        writer.write(Row("a.wav", prediction()))
    assert path.read_bytes()[:4] == b"PAR1"
    assert os.listdir() == ["x.parquet"]


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        (Row("a.wav", prediction()), PredictionShape(True, 3)),
        (Row("a.wav", timeline(2)), TimelineShape(True, 3)),
    ],
)
def test_parquet_and_csv_know_the_time_zone_and_the_duration(
    row: Row, shape: PredictionShape | TimelineShape
) -> None:
    for format_ in ("parquet", "csv"):
        with open_writer(format_, Path(f"x.{format_}"), shape, False) as writer:
            writer.write(row)
    table = parquet.read_table("x.parquet")
    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    first = table.to_pylist()[0]
    assert first["timestamp"] == WHEN
    assert first["timestamp"].tzinfo.utcoffset(None) == UTC.utcoffset(None)
    assert (first["duration"], len(first["embedding"])) == (row.answer.duration, 3)
    [line, *_] = read("x.csv")
    assert line["timestamp"] == "2026-01-02T03:04:05+08:00"
    assert float(line["duration"]) == row.answer.duration
    assert table.column_names == [*list(line)[:-3], "embedding"]
