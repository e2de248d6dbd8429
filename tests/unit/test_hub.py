"""Named checkpoints where no hub answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export import random_checkpoint
from export.__main__ import main
from export.random_checkpoint import Size
from tests.conftest import ROOT, TINY, free_ports


def nowhere(folder: Path) -> dict[str, str]:
    """An environment in which both hubs are closed ports and nothing is cached."""
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    return {
        **os.environ,
        "MODELSCOPE_ENDPOINT": address,
        "MODELSCOPE_CACHE": str(folder / "modelscope"),
        "HF_ENDPOINT": address,
        "HF_HOME": str(folder / "huggingface"),
    }


@pytest.mark.parametrize("hub", ["modelscope", "huggingface"])
def test_an_export_fails_in_one_sentence(
    hub: str, tmp_path: Path, empty_repository: Callable[[], Path]
) -> None:
    repository = empty_repository()
    done = subprocess.run(
        [sys.executable, "-m", "export", "--hub", hub, "--model-repository", str(repository)],
        cwd=ROOT,
        env=nowhere(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"export: {hub} does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (repository / "encoder").exists()


def test_the_first_run_goes_on_with_random_weights_and_says_so(
    empty_repository: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes: dict[str, Size] = {"large": TINY}
    monkeypatch.setattr(random_checkpoint, "SIZES", sizes)
    for name, value in nowhere(tmp_path).items():
        monkeypatch.setenv(name, value)
    repository = empty_repository()
    arguments = ["--random-if-unreachable", "--model-repository", str(repository), "--seed", "1"]
    assert main(arguments) == 0
    assert "MEAN NOTHING" in capsys.readouterr().err
    card = json.loads((repository / "encoder" / "model_card.json").read_text("utf-8"))
    assert card["weights"] == "random"
    assert card["checkpoint"] == "random:large"
