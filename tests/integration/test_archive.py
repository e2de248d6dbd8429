"""An archive through the real command and server, killed and continued."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from benchmarks.launch import Program, wait_until
from emotion2vec_client import Client
from emotion2vec_client._audio import wav_bytes
from emotion2vec_client._judges import NOBODY
from emotion2vec_client.archive.job import Job
from emotion2vec_client.archive.plan import Plan
from emotion2vec_client.archive.stores import Store
from tests.conftest import SAMPLES, speech_like
from tests.integration.terminal import COMMAND

FILES, PART = 200, 10
HELD = 104
"""The file at which the first run is held, so that it is killed before it is done."""

RATE = 16_000
TOLERANCE = 1e-5


def clip(seed: int) -> bytes:
    return wav_bytes(speech_like(RATE // 4, seed), RATE)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows by name; each name is there once."""
    found = parquet.read_table(folder).to_pylist()
    by_name = {row["file"]: row for row in found}
    assert len(by_name) == len(found)
    return by_name


def test_a_killed_archive_is_continued(url: str, client: Client, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    paths = [clips / f"{number:03}.wav" for number in range(FILES)]
    for number, path in enumerate(paths):
        path.write_bytes(clip(number))
    bad = [clips / "empty.wav", clips / "text.wav"]
    bad[0].touch()
    bad[1].write_text("no audio")
    command = [*COMMAND, "archive", str(clips), "-o", str(out), "--url", url]
    command.append(f"--part-size={PART}")

    # Reading a pipe waits for someone who writes.
    paths[HELD].unlink()
    os.mkfifo(paths[HELD])
    with Program(command) as first:
        before = out / f"part-{HELD // PART - 1:05}.parquet"
        wait_until(before.exists, f"{before} is there")
        first.process.kill()
        first.wait()
    done = sorted(out.glob("part-*.parquet"))
    assert len(done) == HELD // PART
    written = {path: path.stat().st_mtime_ns for path in done}
    paths[HELD].unlink()
    paths[HELD].write_bytes(clip(HELD))

    with Program(command) as second:
        assert second.wait() == 0, second.said
    assert "2 files failed" in second.said
    assert {path: path.stat().st_mtime_ns for path in done} == written
    found = rows(out)
    assert sorted(found) == sorted(map(str, [*paths, *bad]))
    for outcome in client.predict_many(paths):
        row, prediction = found[str(outcome.item)], outcome.unwrap()
        assert row["error"] is None
        assert {name: row[name] for name in prediction.scores} == pytest.approx(
            dict(prediction.scores), abs=TOLERANCE
        )
        assert row["duration"] == pytest.approx(prediction.duration)
    assert all(found[str(path)]["error"] for path in bad)


def test_a_shard_gives_what_its_files_give(url: str, client: Client, tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    with tarfile.open(shard, "w") as tar:
        for seed in range(3):
            member = tarfile.TarInfo(f"{seed}.wav")
            member.size = len(clip(seed))
            tar.addfile(member, io.BytesIO(clip(seed)))
    out = tmp_path / "out"
    with Program([*COMMAND, "archive", str(shard), "-o", str(out), "--url", url]) as command:
        assert command.wait() == 0, command.said
    for seed in range(3):
        row = rows(out)[f"{shard}/{seed}.wav"]
        scores = client.predict(clip(seed)).scores
        assert {name: row[name] for name in scores} == pytest.approx(dict(scores), abs=TOLERANCE)


def test_a_server_that_works_answers_silence(client: Client) -> None:
    store, plan = Store("unused"), Plan("0", {}, {}, 1, 1)
    Job(store, plan, [], NOBODY, 1, timeline=True, embedding=False).check_server(client)


def test_timelines_of_long_recordings(url: str, client: Client, tmp_path: Path) -> None:
    out = tmp_path / "out"
    story = SAMPLES / "story.ogg"
    arguments = [str(story), "-o", str(out), "--url", url, "--timeline", "--embedding"]
    with Program([*COMMAND, "archive", *arguments]) as command:
        assert command.wait() == 0, command.said
    timeline = client.timeline(story, embedding=True)
    assert rows(out)[str(story)]["segments"] == len(timeline.segments)
    assert rows(out)[str(story)]["emotion"] == timeline.summary.emotion
    segments = parquet.read_table(out / "_segments").to_pylist()
    assert [row["start"] for row in segments] == [each.start for each in timeline.segments]
    assert segments[0]["embedding"] == pytest.approx(
        timeline.segments[0].embedding.tolist(), abs=1e-3
    )
