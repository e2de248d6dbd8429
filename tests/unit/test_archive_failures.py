"""What fails in an archive: a recording is a row, a server or a machine ends the command."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from emotion2vec_client import AccessDeniedError, Emotion2VecError, PredictionTimeoutError
from emotion2vec_client._judges import NOBODY
from emotion2vec_client.archive import on_ray
from emotion2vec_client.archive.job import RETRIES, SILENCE, Job
from emotion2vec_client.archive.plan import PLAN, read_plan
from emotion2vec_client.archive.stores import Store
from emotion2vec_client.cli import main
from emotion2vec_client.cli.connection import Connection
from tests.unit.archive_runs import COMMAND, NAMES, files, rows
from tests.unit.cli_fakes import FakeClient, fake, touch

__all__ = ["fake"]


def fail(fake: type[FakeClient], name: str, times: int, error: Exception) -> Counter[str]:
    """Fails for one recording, and returns how often each was sent."""
    asked: Counter[str] = Counter()

    def answer(recording: object) -> None:
        if not isinstance(recording, bytes):
            asked[str(recording)] += 1
        if str(recording) == name and asked[name] <= times:
            raise error

    fake.asked = staticmethod(answer)
    return asked


@pytest.mark.parametrize("options", [[], ["--timeline"]])
@pytest.mark.parametrize("error", [PredictionTimeoutError("no answer"), Emotion2VecError("failed")])
def test_a_recording_for_which_the_server_fails_is_tried_again(
    options: list[str], error: Exception, fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    asked = fail(fake, NAMES[4], 1, error)
    assert main([*COMMAND, *options]) == 0
    assert asked == Counter([*NAMES, NAMES[4]])
    assert files() == NAMES
    assert not any(row["error"] for row in rows())
    assert "1 failed" not in capsys.readouterr().err.splitlines()[-1]


def test_a_recording_that_makes_the_server_fail_is_a_row(fake: type[FakeClient]) -> None:
    touch(*NAMES)
    asked = fail(fake, NAMES[4], 99, Emotion2VecError("the server failed: out of range"))
    assert main(COMMAND) == 0
    assert asked[NAMES[4]] == 1 + RETRIES
    assert [row["error"] for row in rows() if row["error"]] == ["the server failed: out of range"]
    assert files() == NAMES


@pytest.mark.parametrize("of_the_timeline", [False, True])
def test_a_server_that_answers_nothing_ends_the_command(
    of_the_timeline: bool, fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    command = [*COMMAND, *(["--timeline"] if of_the_timeline else [])]
    fail(fake, NAMES[4], 99, PredictionTimeoutError("no answer in 30 s"))

    def hang(recording: Any) -> None:
        one_fails(recording)
        if recording == SILENCE and not (of_the_timeline and asked_silence.pop("predict_many", 0)):
            raise PredictionTimeoutError("no answer in 30 s")

    one_fails, asked_silence = fake.asked, {"predict_many": 1}
    fake.asked = staticmethod(hang)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "the server does not answer: no answer in 30 s" in said
    assert "run the same command again" in said
    fail(fake, NAMES[4], 0, Emotion2VecError())
    assert main(command) == 0
    assert not any(row["error"] for row in rows())


def test_a_server_that_hangs_later_leaves_no_rows(fake: type[FakeClient]) -> None:
    touch(*NAMES)
    silences = 0

    def hang(recording: object) -> None:
        nonlocal silences
        silences += recording == SILENCE
        if str(recording) == NAMES[1] or (silences and (recording != SILENCE or silences > 1)):
            raise PredictionTimeoutError("no answer in 30 s")

    fake.asked = staticmethod(hang)
    assert main(COMMAND) == 1
    assert silences == 2
    assert not Path("out/part-00000.parquet").exists()


def test_a_key_that_is_refused_is_told_as_such(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)

    def refuse(recording: object) -> None:
        raise (AccessDeniedError if recording == SILENCE else PredictionTimeoutError)("no key")

    fake.asked = staticmethod(refuse)
    assert main(COMMAND) == 1
    assert "emotion2vec: no key; 0 of 4 parts" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--embedding"], ["--timeline", "--embedding"]])
def test_only_recordings_that_failed_are_tried_again(
    options: list[str], fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["clips/1.wav", "clips/2.wav", "clips/bad-1.wav", "clips/bad-2.wav", "clips/silent.wav"]
    touch(*names)
    command = [*COMMAND, *options]
    assert main(command) == 0
    before = {row["file"]: row for row in rows()}
    asked: Counter[str] = Counter()
    # As if one of the two files had been replaced.
    refuse = fake._check

    def check(self: FakeClient, recording: Any) -> None:
        asked[str(recording)] += 1
        if str(recording) != names[2]:
            refuse(self, recording)

    fake._check = check  # type: ignore[assignment, method-assign]
    capsys.readouterr()
    assert main([*command, "--retry-failed"]) == 0
    assert asked == Counter(names[2:4])
    assert "; 1 file failed" in capsys.readouterr().err
    assert files() == names
    after = {row["file"]: row for row in rows()}
    assert after.pop(names[2])["error"] is None
    before.pop(names[2])
    assert after == before
    if "--timeline" in options:
        segments = parquet.read_table("out/_segments").to_pylist()
        found = [(row["file"], row["start"]) for row in segments]
        spoken = [(name, start) for name in names[:3] for start in (0.0, 1.0)]
        assert found == [*spoken, *((name, None) for name in names[3:])]
    # Without the option nothing is asked.
    assert main(command) == 0
    assert asked == Counter(names[2:4])


def test_a_retry_that_is_killed_between_the_files_of_a_part_is_continued(
    fake: type[FakeClient],
) -> None:
    touch(*NAMES[:2], "clips/bad.wav")
    command = [*COMMAND, "--timeline"]
    assert main(command) == 0
    before = Path("out/part-00000.parquet").read_bytes()
    fake._check = lambda self, path: None  # type: ignore[method-assign]
    assert main([*command, "--retry-failed"]) == 0
    Path("out/part-00000.parquet").write_bytes(before)
    assert main([*command, "--retry-failed"]) == 0
    assert not any(row["error"] for row in rows())
    assert len(parquet.read_table("out/_segments")) == 2 * 3


def test_rows_that_another_command_has_replaced_are_left_alone(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(NAMES[0], "clips/bad-1.wav", "clips/bad-2.wav")
    assert main(COMMAND) == 0
    repaired = False

    def repair(recording: object) -> None:
        nonlocal repaired
        if str(recording).startswith("clips/bad") and not repaired:
            repaired = True
            refuse = fake._check
            fake._check = lambda self, path: None  # type: ignore[method-assign]
            assert main([*COMMAND, "--retry-failed"]) == 0
            fake._check = refuse  # type: ignore[method-assign]

    fake.asked = staticmethod(repair)
    assert main([*COMMAND, "--retry-failed"]) == 1
    assert "was changed meanwhile" in capsys.readouterr().err
    assert [row["error"] for row in rows()] == [None] * 3


@pytest.mark.parametrize(
    ("options", "megabytes", "refused"),
    [([], 10, False), ([], 11, True), (["--timeline"], 200, False), (["--timeline"], 201, True)],
)
def test_a_file_that_is_too_large_is_not_read_whole(
    options: list[str], megabytes: int, refused: bool, fake: type[FakeClient]
) -> None:
    touch(*NAMES)
    # Without blocks on the disk.
    os.truncate(NAMES[4], megabytes * 2**20)
    read: list[int] = []

    def asked(recording: Any) -> None:
        if hasattr(recording, "read"):
            try:
                read.append(len(recording.read()))
            except ValueError as error:
                raise Emotion2VecError(str(error)) from error

    fake.asked = staticmethod(asked)
    assert main([*COMMAND, *options]) == 0
    failed = [row["error"] for row in rows() if row["error"]]
    limit = 200 if options else 10
    expected = f"the file has more than {limit} MB, which is the limit"
    assert [each.partition(":")[0] for each in failed] == ([expected] if refused else [])
    assert max(read) == (0 if refused else megabytes * 2**20)


@pytest.mark.parametrize("lost", ["the sources", "the results"])
def test_a_machine_of_a_cluster_without_the_folders_ends_the_work(lost: str) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    store = Store.of("out")
    plan = read_plan(store)
    assert plan is not None
    job = Job(
        store, plan, [Connection()], NOBODY, 1, False, False, sources=[os.path.abspath("clips")]
    )
    assert on_ray._read(job, {"part": 0})["stopped"] == ""
    if lost == "the sources":
        job = replace(job, sources=["/elsewhere/clips"])
    else:
        Path("out").rename("elsewhere")
    written = {"stopped": "", "files": 3, "failed": 0, "written": b""}
    asked = {"part": 0, "stopped": "", "recordings": b""}
    recognised = on_ray._Recogniser(job)(asked)
    for said in (on_ray._read(job, {"part": 0}), recognised, on_ray._write(job, written)):
        assert "all machines of the cluster share" in said["stopped"]
        assert ("/elsewhere/clips" if lost == "the sources" else PLAN) in said["stopped"]
