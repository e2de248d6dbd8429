"""Which files of other servers a start removes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from server import leftovers

NOBODY = "99999999"
"""A process ID that no process has."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of /dev/shm."""
    monkeypatch.setattr(leftovers, "SHM", tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    return tmp_path


def test_files_of_a_server_in_another_container_stay_until_it_has_ended(shared: Path) -> None:
    """It may share /dev/shm, and its process ID means nothing here."""
    prefix = leftovers.OWNED_PREFIX.format(pid=NOBODY) + "abcdef-"
    (shared / f"{prefix}pool").touch()
    lock = leftovers.claim(prefix)
    leftovers.remove_stale_files()
    assert sorted(path.name for path in shared.iterdir()) == [f"{prefix}lock", f"{prefix}pool"]
    os.close(lock)
    leftovers.remove_stale_files()
    assert not any(shared.iterdir())


def test_files_of_another_user_stay(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = leftovers.OWNED_PREFIX.format(pid=NOBODY) + "abcdef-"
    (shared / f"{prefix}lock").touch(mode=0)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    leftovers.remove_stale_files()
    assert (shared / f"{prefix}lock").exists()


def test_files_without_a_lock_go_and_those_of_a_living_process_stay(shared: Path) -> None:
    stale, old, living = (
        shared / f"{leftovers.OWNED_PREFIX.format(pid=pid)}{rest}"
        for pid, rest in ((NOBODY, "abcdef-pool"), (NOBODY, "x1_y"), (os.getpid(), "abcdef-pool"))
    )
    for path in (stale, old, living):
        path.touch()
    leftovers.remove_stale_files()
    assert [stale.exists(), old.exists(), living.exists()] == [False, False, True]
