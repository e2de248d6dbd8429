"""The setup checks the version of Python first, and never leaves a half-made environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from shutil import copy

import pytest

from tests.conftest import ROOT

PYTHON = """#!/bin/sh
# A fake Python for the Makefile, which logs what it is asked to do.
case "$*" in
  *version_info*) echo "$VERSION" ;;
  "-m venv "*) echo venv >> "$LOG"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  *"pip "*) echo pip >> "$LOG"; [ "$CUT" != killed ] || kill -9 $PPID; [ "$CUT" != failed ] ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files that the setup reads."""
    (tmp_path / "client").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "client/pyproject.toml"):
        copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(project: Path, version: str = "3.11", cut: str = "") -> subprocess.CompletedProcess[str]:
    own = {"VERSION": version, "CUT": cut, "LOG": str(project / "log")}
    return subprocess.run(
        ["make", ".venv/.serve", f"PYTHON={project / 'python'}"],
        cwd=project,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )


def done(project: Path) -> list[str]:
    log = project / "log"
    words = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return words


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.13", "4.0"])
def test_another_python_is_refused_before_anything_is_made(project: Path, version: str) -> None:
    ended = make(project, version)
    assert ended.returncode != 0
    assert f"is Python {version}, and 3.11 or 3.12 is needed" in ended.stderr
    assert "PYTHON=python3.11" in ended.stderr
    assert not done(project)
    assert not (project / ".venv").exists()
    assert not (project / ".venv.unfinished").exists()


def test_packages_are_installed_once(project: Path) -> None:
    assert make(project, "3.12").returncode == 0
    assert done(project) == ["venv", "pip", "pip"]
    assert make(project).returncode == 0
    assert not done(project)


def test_an_installation_that_was_cut_off_is_made_anew(project: Path) -> None:
    assert make(project, cut="killed").returncode != 0
    assert done(project) == ["venv", "pip"]
    (project / ".venv" / "half").touch()
    assert make(project).returncode == 0
    assert done(project) == ["venv", "pip", "pip"]
    assert not (project / ".venv" / "half").exists()
    assert make(project).returncode == 0
    assert not done(project)


def test_an_installation_that_failed_leaves_what_was_there(project: Path) -> None:
    """Without a network, for example, pip has changed nothing."""
    assert make(project).returncode == 0
    done(project)
    (project / ".venv" / ".serve").unlink()
    (project / ".venv" / "whole").touch()
    assert make(project, cut="failed").returncode != 0
    assert make(project).returncode == 0
    assert done(project) == ["pip", "pip", "pip"]
    assert (project / ".venv" / "whole").exists()


def test_what_another_make_installs_is_left_alone(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "theirs").touch()
    mark = project / ".venv.unfinished"
    mark.write_text("unfinished\n")
    with subprocess.Popen(
        ["flock", str(mark), "sh", "-c", "echo held; read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        ended = make(project)
        holder.stdin.write("\n")
        holder.stdin.flush()
    assert ended.returncode != 0
    assert "another make is installing packages here" in ended.stderr
    assert (project / ".venv" / "theirs").exists()
