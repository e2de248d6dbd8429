"""The source of an export: a hub's checkpoint, or random weights only if no hub answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from export import pipeline, replica
from export.__main__ import main
from export.errors import ExportError, HubUnreachableError
from export.published import LARGE
from tests.checkpoints import TINY
from tests.conftest import ROOT
from tests.hubs import LoopbackHub


def card_of(repository: Path) -> dict:
    card: dict = json.loads((repository / "encoder" / "model_card.json").read_text("utf-8"))
    return card


EXPORT = """
import shutil, sys
from pathlib import Path
from export import __main__, onnx, samples, verify

def write_onnx(encoder, path, precision):
    for file in Path(sys.argv[1]).glob("model.onnx*"):
        shutil.copy(file, path.parent)

onnx.write_onnx = write_onnx
samples.LENGTHS = [16_000]
sys.exit(__main__.main(sys.argv[2:]))
"""
"""``python -m export`` with a short comparison, and with the graph in the folder of argument 1."""


def test_a_hubs_checkpoint_becomes_the_model_and_its_card_says_so(
    tiny_checkpoint: Path,
    empty_repository: Callable[[], Path],
    graph_before: Callable[[str], Path],
    one_clip: Path,
    tmp_path: Path,
) -> None:
    """Does what the first ``make run`` does, in its own process: the hubs' libraries have state."""
    repository = empty_repository()
    served = {name: {LARGE.revisions[key]: tiny_checkpoint} for key, name in LARGE.names.items()}
    caches = ("HF_HOME", "MODELSCOPE_CACHE", "MODELSCOPE_HOME")
    with LoopbackHub(served) as hub:
        own = {**hub.environment, **{name: str(tmp_path / name) for name in caches}}
        done = subprocess.run(
            [sys.executable, "-c", EXPORT, graph_before("fp32"), "--if-unreachable=demonstration",
             "--precision=fp32", f"--model-repository={repository}", f"--verify-with={one_clip}"],
            cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = card_of(repository)
    assert card["checkpoint"] in LARGE.names.values()
    assert card["revision"] in LARGE.revisions.values()
    assert card["weights"] == "pretrained"
    assert card["published"] is False
    assert "bytes instead of 1,945,790,254" in card["differs"][0]
    assert card["license"]["name"] == "model-license"
    for words in (
        "answered first",
        "fetching what is missing",
        "computing the SHA-256",
        "reading model.pt",
        "comparing with FunASR",
        "licence of the weights",
    ):
        assert words in done.stdout
    assert "Traceback" not in done.stderr
    # FunASR and pydub recommend ffmpeg, which nothing here uses.
    assert "ffmpeg" not in done.stdout + done.stderr


def raising(error: ExportError) -> Callable[..., NoReturn]:
    def fetch(*arguments: object) -> NoReturn:
        raise error

    return fetch


@pytest.mark.usefixtures("graphs_from_before")
def test_random_weights_stand_in_for_a_hub_if_they_are_asked_for(
    empty_repository: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(replica, "SIZES", {"large": TINY})
    monkeypatch.setattr(pipeline, "fetch", raising(HubUnreachableError("no hub answers")))
    repository = empty_repository()
    arguments = [f"--model-repository={repository}", "--seed=1", "--precision=fp32"]
    assert main(arguments) == 1
    assert capsys.readouterr().err == "export: no hub answers\n"
    assert not (repository / "encoder").exists()
    assert main([*arguments, "--if-unreachable=random"]) == 0
    assert "MEAN NOTHING" in capsys.readouterr().err
    card = card_of(repository)
    assert (card["weights"], card["checkpoint"]) == ("random", "random:large")
    assert card["license"] is None


def test_the_first_run_fails_if_a_hub_answers_with_an_error(
    empty_repository: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pipeline, "fetch", raising(ExportError("ModelScope cannot answer now")))
    repository = empty_repository()
    assert main([f"--model-repository={repository}", "--if-unreachable=demonstration"]) == 1
    assert "continuing" not in capsys.readouterr().err
    assert not (repository / "encoder").exists()
