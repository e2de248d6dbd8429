"""The folder that a killed Triton leaves in /tmp, and which of them may be removed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, which

import pytest

from server import reaper, triton

OLD = 1_000_000.0
"""A time long before the start of any process, in seconds of the epoch."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new, empty folder."""
    monkeypatch.setattr(reaper, "TEMPORARY", tmp_path)
    made = tmp_path / "python_env_abcdef"
    made.mkdir()
    return made


@pytest.fixture
def tritonserver(tmp_path: Path) -> Iterator[int]:
    """A process with Triton's name."""
    sleep = which("sleep")
    assert sleep
    with subprocess.Popen([copy(sleep, tmp_path / "tritonserver"), "1000"]) as process:
        yield process.pid
        process.kill()


def test_a_folder_without_a_triton_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "_started", list)
    reaper.remove_environments()
    assert not folder.exists()


def test_a_folder_that_a_triton_may_have_made_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_started", lambda: [OLD])
    reaper.remove_environments()
    assert folder.exists()


def test_a_folder_older_than_every_triton_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_started", lambda: [folder.stat().st_ctime + 60])
    reaper.remove_environments()
    assert not folder.exists()


def test_a_folder_with_something_in_it_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "_started", list)
    (folder / "environment").mkdir()
    reaper.remove_environments()
    assert folder.exists()


def test_tritons_are_found_by_their_name(tritonserver: int) -> None:
    before = os.stat(f"/proc/{os.getpid()}").st_ctime
    assert any(started > before - 3600 for started in reaper._started())


NOBODY = "99999999"
"""A process ID that no process has."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of /dev/shm."""
    for module in (reaper, triton):
        monkeypatch.setattr(module, "SHM", tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    return tmp_path


def test_files_of_a_server_in_another_container_stay_until_it_has_ended(shared: Path) -> None:
    """It may share /dev/shm, and its process ID means nothing here."""
    prefix = triton.OWNED_PREFIX.format(pid=NOBODY) + "abcdef-"
    (shared / f"{prefix}pool").touch()
    lock = reaper.claim(prefix)
    triton._remove_stale_files()
    assert sorted(path.name for path in shared.iterdir()) == [f"{prefix}lock", f"{prefix}pool"]
    os.close(lock)
    triton._remove_stale_files()
    assert not any(shared.iterdir())


def test_files_of_another_user_stay(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = triton.OWNED_PREFIX.format(pid=NOBODY) + "abcdef-"
    (shared / f"{prefix}lock").touch(mode=0)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    triton._remove_stale_files()
    assert (shared / f"{prefix}lock").exists()


def test_files_without_a_lock_go_and_those_of_a_living_process_stay(shared: Path) -> None:
    stale, old, living = (
        shared / f"{triton.OWNED_PREFIX.format(pid=pid)}{rest}"
        for pid, rest in ((NOBODY, "abcdef-pool"), (NOBODY, "x1_y"), (os.getpid(), "abcdef-pool"))
    )
    for path in (stale, old, living):
        path.touch()
    triton._remove_stale_files()
    assert [stale.exists(), old.exists(), living.exists()] == [False, False, True]
