"""An export is installed completely or not at all, whatever happens in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export import install, verify
from export.__main__ import main
from export.errors import ExportError
from tests.checkpoints import TINY
from tests.conftest import ROOT

CARD = {"target": "cpu", "precision": "fp32", "embed_dim": TINY.embed_dim}


def stage_encoder(repository: Path, text: str) -> None:
    with install.staging(repository) as stage:
        (stage / "1" / "model.onnx").write_text(text)
        install.write_model_files(stage, CARD)
        install.install(stage, repository)


def installed(repository: Path) -> str:
    return (repository / "encoder" / "1" / "model.onnx").read_text()


def leftovers(repository: Path) -> list[Path]:
    return [path for path in repository.parent.iterdir() if path != repository]


def test_a_new_export_replaces_the_old_one(tmp_path: Path) -> None:
    repository = tmp_path / "model_repository"
    repository.mkdir()
    stage_encoder(repository, "first")
    stage_encoder(repository, "second")
    assert installed(repository) == "second"
    assert not leftovers(repository)


def test_a_crash_before_the_swap_leaves_the_old_model(tmp_path: Path) -> None:
    repository = tmp_path / "model_repository"
    repository.mkdir()
    stage_encoder(repository, "first")
    with pytest.raises(RuntimeError, match="crash"), install.staging(repository) as stage:
        (stage / "1" / "model.onnx").write_text("half")
        raise RuntimeError("crash")
    assert installed(repository) == "first"
    assert not leftovers(repository)


def test_two_exports_at_once_are_refused(tmp_path: Path) -> None:
    repository = tmp_path / "model_repository"
    repository.mkdir()
    with (
        install.staging(repository),
        pytest.raises(ExportError, match="another export"),
        install.staging(repository),
    ):
        pass


@pytest.mark.usefixtures("graphs_from_before")
def test_a_graph_too_far_from_funasr_is_not_installed(
    tiny_checkpoint: Path,
    empty_repository: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = empty_repository()
    monkeypatch.setitem(verify.TOLERANCES, "fp32", verify.Tolerance(1e-12, 1e-12, 1e-12, 1e-12))
    arguments = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    assert main([*arguments, "--precision=fp32"]) == 1
    captured = capsys.readouterr()
    assert "too far from FunASR: nothing was installed" in captured.err
    assert "TOO FAR" in captured.out
    assert not (repository / "encoder").exists()
    assert not leftovers(repository)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_export_that_is_ended_installs_nothing(
    tiny_checkpoint: Path, empty_repository: Callable[[], Path], end: signal.Signals
) -> None:
    repository = empty_repository()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "export",
            "--checkpoint",
            str(tiny_checkpoint),
            "--model-repository",
            str(repository),
            "--precision=fp32",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    with process:
        for line in process.stdout:
            if "writing" in line:
                process.send_signal(end)
                break
    assert process.returncode != 0
    assert not (repository / "encoder").exists()
    if end != signal.SIGKILL:
        assert not leftovers(repository)
    # The leftovers of a killed export do not stop the next one.
    stage_encoder(repository, "next")
    assert installed(repository) == "next"
    assert not leftovers(repository)
