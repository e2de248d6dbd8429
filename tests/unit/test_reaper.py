"""The folder that a killed Triton leaves in /tmp, and which of them may be removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, which

import pytest

from server import reaper

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
