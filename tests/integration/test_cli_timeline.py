"""``emotion2vec timeline`` with the real server."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from pathlib import Path

import pytest
from pyarrow import parquet

from benchmarks.launch import PATIENCE
from emotion2vec_client import LABELS, Client
from emotion2vec_client.cli import main
from server.triton import Triton
from tests.conftest import SAMPLES, recordings
from tests.integration.terminal import COMMAND, on_a_terminal

HAPPY = SAMPLES / "happy.wav"


def test_a_timeline_on_a_terminal_is_a_strip_and_its_summary(url: str, client: Client) -> None:
    text = on_a_terminal(str(SAMPLES / "story.ogg"), "--url", url, command="timeline")
    found = client.timeline(SAMPLES / "story.ogg")
    strip, scale, *_ = text.split("\n")
    # Nearly all columns have a coloured block, because the story hardly pauses.
    assert strip.count("█") > 100 and "\x1b[38" in strip
    assert scale.startswith("0:00") and scale.endswith("0:12")
    assert f"is speech, in {len(found.segments)} segments" in text
    for label in LABELS:
        assert f"{label.emoji} {label.chinese} {label.name}" in text


def test_a_timeline_is_written_in_every_format(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [tmp_path / f"call{suffix}" for suffix in (".json", ".csv", ".srt", ".vtt", ".png")]
    options = [option for name in names for option in ("-o", str(name))]
    options += ["--window", "4", "--hop", "2", "--url", url, "--json"]
    assert main(["timeline", str(SAMPLES / "story.ogg"), *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(names[0].read_text(encoding="utf-8"))
    starts = [segment["start"] for segment in shown["segments"]]
    assert starts == [0, 2, 4, 6, 8, 10]
    with names[1].open(encoding="utf-8", newline="") as stream:
        assert [float(row["start"]) for row in csv.DictReader(stream)] == starts
    assert names[2].read_text(encoding="utf-8").count(" --> ") == 6
    assert names[3].read_text(encoding="utf-8").startswith("WEBVTT")
    assert names[4].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "call.txt"], "call.txt does not end in .json or .csv or"),
        (["-o", "nowhere/call.json"], "there is no folder nowhere: create it first"),
        (["--hop", "2"], "--hop is for windows: add --window"),
        (["--window", "2", "--min-segment", "1"], "leave out --min-segment and --max-segment"),
    ],
)
def test_a_timeline_that_makes_no_sense_is_refused_before_it_is_sent(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", str(HAPPY), "--url", "localhost:1", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_timeline_of_no_audio_is_one_sentence(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.wav").write_text("no audio " * 100)
    for name in ("text.wav", "missing.wav"):
        assert main(["timeline", str(tmp_path / name), "--url", url]) == 1
        error = capsys.readouterr().err
        assert error.startswith("emotion2vec: ") and error.count("\n") == 1


def test_rows_of_many_recordings_hold_the_clients_answers(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("happy.wav", "story.ogg"):
        (folder / name).symlink_to(SAMPLES / name)
    for name in ("x.jsonl", "x.csv", "x.parquet"):
        options = ["--url", url, "-o", str(tmp_path / name), "--embedding"]
        assert main(["timeline", str(folder), *options]) == 0
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["file"]: row for row in map(json.loads, lines)}
    assert list(rows) == [str(folder / name) for name in ("happy.wav", "story.ogg")]
    story = rows[str(folder / "story.ogg")]
    found = client.timeline(SAMPLES / "story.ogg", embedding=True)
    assert len(story["segments"]) == len(found.segments) > 1
    for row, segment in zip(story["segments"], found.segments, strict=True):
        assert (row["start"], row["end"]) == (segment.start, segment.end)
        assert row["scores"] == pytest.approx(dict(segment.scores), abs=1e-5)
        assert row["embedding"] == pytest.approx(segment.embedding.tolist(), abs=1e-4)
    table = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as stream:
        flat = list(csv.DictReader(stream))
    count = sum(max(len(row["segments"]), 1) for row in rows.values())
    assert len(flat) == len(table) == count
    assert {row["file"] for row in flat} == set(rows)
    capsys.readouterr()
    output = str(tmp_path / "x.jsonl")
    assert main(["timeline", str(folder), "--url", url, "-o", output]) == 2
    assert "add --resume to continue it, or add --overwrite" in capsys.readouterr().err
    options = ["--url", url, "-o", output, "--embedding", "--resume"]
    assert main(["timeline", str(folder), *options]) == 0
    assert f"wrote 0 rows to {output}; {len(rows)} files done before" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_ctrl_c_among_many_timelines_says_how_to_go_on(
    triton: Triton, scheme: str, tmp_path: Path
) -> None:
    """The input stays open, so that the command cannot finish."""
    ports = {"grpc": triton.settings.grpc_port, "http": triton.settings.http_port}
    output = tmp_path / "x.jsonl"
    # One at a time: while the command waits for the next name, it writes the last answer.
    address = f"{scheme}://127.0.0.1:{ports[scheme]}"
    arguments = ["timeline", "-", "--concurrency", "1", "--url", address, "-o", str(output)]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write(f"{SAMPLES / 'story.ogg'}\n" * 2)
        process.stdin.flush()
        while not output.exists() or not output.read_text(encoding="utf-8").count("\n"):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        told = process.stderr.read()
    assert "run it again with --resume to continue" in told
    assert "Traceback" not in told


def test_several_recordings_on_a_terminal_are_a_table_with_their_course(url: str) -> None:
    files = [str(path) for path in recordings()[:2]]
    header, *lines = on_a_terminal(*files, "--url", url, command="timeline").strip().splitlines()
    assert "course" in header
    assert sum(Path(name).name in "".join(lines) for name in files) == 2
    assert "█" in "".join(lines) and "\x1b[38" in "".join(lines)
