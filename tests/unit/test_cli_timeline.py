"""Timelines of many recordings, and how the terminal shows the emotions over time."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from emotion2vec_client import InvalidAudioError, Timeline
from emotion2vec_client._timeline import SCORES, own_columns
from emotion2vec_client.cli import main
from tests.unit.cli_fakes import WHEN, FakeClient, fake, read, timeline, touch

__all__ = ["fake"]


def as_row(file: str) -> dict[str, Any]:
    """A row of JSONL; its times have an offset, as in CSV."""
    return {"file": file, **timeline(2).to_dict(), "timestamp": WHEN.isoformat()}


def test_rows_of_many_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    touch("calls/a.mp4", "calls/bad.wav", "calls/silent.amr", "calls/notes.txt")
    files = ["calls/a.mp4", "calls/bad.wav", "calls/silent.amr"]
    for name in ("x.jsonl", "x.csv", "x.parquet"):
        assert main(["timeline", "calls", "-o", name]) == 1
        told = capsys.readouterr().err
        assert (
            "skipped 1 file whose name does not end in an audio extension: calls/notes.txt\n"
            in told
        )
        assert told.endswith("1 file failed: see its row\n")
    a, bad, silent = read("x.jsonl")
    assert [row["file"] for row in (a, bad, silent)] == files
    assert a == as_row(files[0])
    assert (bad["error_type"], silent["segments"]) == ("InvalidAudioError", [])
    lines = read("x.csv")
    # Each segment has a row; a recording that failed or has no segments has one row.
    assert [line["file"] for line in lines] == [files[0], *files]
    assert list(lines[0]) == [
        "file",
        *own_columns(False),
        *SCORES,
        "duration",
        "weights",
        "timestamp",
        "error",
    ]
    assert [line["start"] for line in lines] == ["0.0", "1.0", "", ""]
    assert [line["duration"] for line in lines] == ["3.0", "3.0", "", "3.0"]
    assert lines[2]["error"] == "this is no audio: send WAV"
    table = parquet.read_table("x.parquet").to_pylist()
    assert [(row["file"], row["start"], row["emotion"]) for row in table] == [
        (line["file"], float(line["start"]) if line["start"] else None, line["emotion"] or None)
        for line in lines
    ]


def test_embeddings_of_segments(capsys: pytest.CaptureFixture[str]) -> None:
    vector = [0.1, 0.1, 0.1]
    assert main(["timeline", "a.wav", "--embedding", "--json", "-o", "a.json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert shown["segments"][1]["embedding"] == pytest.approx(vector)
    for name in ("x.jsonl", "x.csv", "x.parquet"):
        assert main(["timeline", "a.wav", "--embedding", "-o", name]) == 0
    assert read("x.jsonl")[0]["segments"][1]["embedding"] == pytest.approx(vector)
    last = read("x.csv")[-1]
    assert [float(last[f"e{index}"]) for index in range(3)] == pytest.approx(vector)
    assert parquet.read_table("x.parquet").to_pylist()[-1]["embedding"] == pytest.approx(vector)


def test_options_reach_every_recording(
    fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def note(self: FakeClient, path: Path, *, progress: object, **options: Any) -> Timeline:
        asked.append(options)
        return timeline(1)

    monkeypatch.setattr(fake, "timeline", note)
    assert main(["timeline", "a", "b", "--window", "4", "--hop", "2", "--format", "csv"]) == 0
    usual = {"min_segment": None, "max_segment": None, "embedding": False}
    alone = {"channels": "mixed", "speakers": 1, "names": []}
    windows = {"segmentation": "fixed", "window": 4, "hop": 2}
    assert asked == [{**usual, **alone, **windows}] * 2
    assert len(list(csv.DictReader(capsys.readouterr().out.splitlines()))) == 2
    asked.clear()
    options = ["--speakers", "auto", "--names", "Ada, Bob", "--format", "jsonl"]
    assert main(["timeline", "a", "b", *options]) == 0
    assert (asked[0]["speakers"], asked[0]["names"]) == ("auto", ["Ada", "Bob"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--separate", "--speakers", "2"], "with --separate each channel is a speaker"),
        (["--names", "Ada,Bob"], "add --separate or --speakers 2"),
        (["--separate", "--names", "Ada,Ada"], "a name of its own"),
        (["--speakers", "two"], "use 'auto' or a number"),
    ],
)
def test_speakers_that_cannot_be_are_refused_at_once(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", "a.wav", *options]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_one_recording_is_written_in_several_formats() -> None:
    names = ["a.json", "a.csv", "a.srt", "a.vtt", "a.png"]
    outputs = [option for name in names for option in ("-o", name)]
    assert main(["timeline", "a.wav", *outputs]) == 0
    assert json.loads(Path("a.json").read_text(encoding="utf-8")) == as_row("a.wav")
    assert Path("a.srt").read_text(encoding="utf-8") == timeline(2).to_srt()
    # A CSV file has the same columns for any number of recordings and files.
    assert main(["timeline", "a.wav", "-o", "alone.csv"]) == 0
    assert main(["timeline", "a.wav", "b.wav", "-o", "many.csv"]) == 0
    assert read("a.csv") == read("alone.csv") == read("many.csv")[:2]
    assert next(iter(read("a.csv")[0])) == "file"
    # A table may contain many recordings; the other formats contain one.
    assert main(["timeline", "a.wav", "-o", "a.json", "-o", "a.srt"]) == 0
    assert main(["timeline", "a.wav", "-o", "a.csv"]) == 2
    assert main(["timeline", "a.wav", "-o", "a.csv", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.wav", "b.wav", "-o", "x.srt"], "x.srt can hold one recording, but not rows"),
        (["a.wav", "b.wav", "-o", "x.csv", "-o", "x.jsonl"], "rows go into one file"),
        (["a.wav", "-o", "x.json", "-o", "x.jsonl"], "rows go into one file"),
        (["a.wav", "b.wav", "--json"], "--json is for one recording"),
        (["a.wav", "-o", "x.jsonl", "-o", "y.csv"], "rows go into one file: give one -o that ends"),
        (["a.wav", "-o", "x.csv", "--format", "jsonl"], "contradicts the extension of x.csv"),
        (["a.wav", "--embedding"], "do not fit a terminal"),
        (["a.wav", "--resume"], "add -o"),
        (["a.wav", "-o", "nowhere/x.json"], "there is no folder nowhere"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", *arguments]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize("files", [["a.wav"], ["a.wav", "b.wav", "-o", "x.jsonl"]])
def test_options_that_the_server_refuses_are_wrong_usage(
    files: list[str],
    fake: type[FakeClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(self: FakeClient, path: Path, **options: Any) -> Timeline:
        raise InvalidAudioError("window is 40 s: use 0.25 to 30", "bad_request")

    monkeypatch.setattr(fake, "timeline", refuse)
    assert main(["timeline", *files, "--window", "40"]) == 2
    assert capsys.readouterr().err == "emotion2vec: window is 40 s: use 0.25 to 30\n"


def test_what_is_in_flight_is_cancelled_when_the_work_ends(
    fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the server would compute for minutes without a client."""
    cancelled: list[str] = []
    begun = threading.Event()

    def listen(self: FakeClient, path: Path, *, progress: Any, **options: Any) -> Timeline:
        if path.name.startswith("gone"):
            begun.wait()
        self._check(path)
        begun.set()
        try:
            # End at some time, even if the test fails.
            for _ in range(10**6):
                progress(0.5)
        except Exception:
            cancelled.append(path.name)
            raise
        return timeline(1)

    monkeypatch.setattr(fake, "timeline", listen)
    assert main(["timeline", "gone.wav", "long.wav", "-o", "x.jsonl"]) == 1
    assert cancelled == ["long.wav"]


def test_a_table_shows_the_course_of_every_recording(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeline", "a.wav", "silent.wav", "--format", "table"]) == 0
    header, a, silent = capsys.readouterr().out.splitlines()
    assert "course" in header
    # Two of the three seconds have the emotion "unknown", shown as question marks.
    assert "?" * 16 + " " in a and a.endswith("0:03")
    assert "no speech" in silent


def test_frames_are_shown_as_a_strip(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    options = ["--format", "table", "--granularity", "frame"]
    assert main(["predict", "a.wav", *options]) == 0
    bars, _, strip = capsys.readouterr().out.rpartition("\n\n")
    assert bars.count("%") == 10
    # Of one second, two frames of 20 ms are happy and two are sad.
    course, scale, legend = strip.splitlines()
    assert course == "hhhhssss" + " " * 92
    assert scale.startswith("0:00") and scale.endswith("0:01")
    assert legend.split() == ["h", "happy", "s", "sad"]
    assert main(["predict", "a.wav", "b.wav", *options]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert all(" hs " in line and line.endswith("0:01") for line in (first, second))
    assert main(["predict", "a.wav", "b.wav", "--format", "table"]) == 0
    assert "course" not in capsys.readouterr().out
