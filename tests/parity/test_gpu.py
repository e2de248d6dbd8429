"""Compares a GPU's results with FunASR's (docs/gpu.md)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio.layout import SAMPLE_RATE
from benchmarks.launch import below
from benchmarks.service import part_name
from benchmarks.triton_stats import Statistics
from emotion2vec_client import Client
from export.__main__ import main as export_main
from export.checkpoint import load_folder
from export.reference import Reference
from server.repository import instances
from tests.conftest import ROOT, serving, settings_for, speech_like

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("target", ["cuda", "tensorrt"])
def test_an_export_holds_its_tolerance(
    target: str, precision: str, tiny_checkpoint: Path, empty_repository: Callable[[], Path]
) -> None:
    if target == "tensorrt":
        pytest.importorskip("tensorrt")
    repository = empty_repository()
    arguments = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    # The export compares every clip, alone and in a batch, and fails if one is too far off.
    export_main([*arguments, "--target", target, "--precision", precision])
    card = json.loads((repository / "encoder" / "model_card.json").read_text("utf-8"))
    assert (card["target"], card["precision"]) == (target, precision)


def test_the_benchmark_times_funasr_and_us_on_the_gpu(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "result.json"
    arguments = ["--device", "cuda", "--checkpoint", str(tiny_checkpoint), "--rounds", "1"]
    subprocess.run(
        [sys.executable, "benchmarks/encoder.py", *arguments, "--output", str(output)],
        cwd=ROOT,
        check=True,
    )
    result = json.loads(output.read_text("utf-8"))
    assert set(result["works"]) == {"10 s", "30 s", "8 x 10 s", "mix"}
    for work in result["works"].values():
        assert set(work["sides"]) == {"funasr", "funasr fp16", "fp16", "fp32"}
        assert work["sides"]["fp32"]["relative_error"] < 1e-4


def test_triton_answers_as_funasr_does(
    tiny_checkpoint: Path, empty_repository: Callable[[], Path], tmp_path: Path
) -> None:
    if importlib.util.find_spec("pytriton") is None:
        pytest.skip("needs the tritonserver of the nvidia-pytriton wheel")
    repository = empty_repository()
    arguments = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    export_main([*arguments, "--target", "cuda", "--precision", "fp32"])
    clips = {}
    for samples in range(400, 128_400, 8_000):
        path = tmp_path / f"{samples}.wav"
        clips[path] = speech_like(samples, seed=samples)
        soundfile.write(path, clips[path], SAMPLE_RATE, subtype="FLOAT")
    checkpoint = load_folder(tiny_checkpoint)
    reference = Reference(checkpoint, checkpoint.build())
    with (
        serving(settings_for(repository)) as triton,
        Client(f"127.0.0.1:{triton.settings.grpc_port}") as client,
    ):
        statistics = Statistics(f"127.0.0.1:{triton.settings.grpc_port}")
        outcomes = client.predict_many(list(clips), concurrency=len(clips))
        for outcome, clip in zip(outcomes, clips.values(), strict=True):
            scores = list(outcome.unwrap().scores.values())
            np.testing.assert_allclose(scores, reference.run(clip).scores, atol=1e-5)
        assert max(statistics.read()["encoder"].batches) > 1
        encoders = [part_name(process) for process in below(triton.pid)].count("encoder")
        assert encoders == instances(repository, None, in_python=True)["encoder"]
