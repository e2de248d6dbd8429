"""The packages of the container, as pip finds them for its Python; needs the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.test_deploy import served_packages

PYTHON = "3.12"


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_the_pinned_packages_of_the_service_have_wheels(processor: str, tmp_path: Path) -> None:
    platforms = [f"manylinux_2_{minor}_{processor}" for minor in (17, 24, 27, 28)]
    platforms.append(f"manylinux2014_{processor}")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--target", str(tmp_path)]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:"]
    command += [word for platform in platforms for word in ("--platform", platform)]
    command += ["-c", str(ROOT / "constraints.txt"), *served_packages()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Would install" in done.stdout
