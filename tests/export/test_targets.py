"""Precisions and targets: which a machine offers, and their settings in config.pbtxt."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from audio import layout
from audio.limits import CODEC_PADDING_SECONDS
from export import contract, targets, verify
from export.__main__ import main
from export.batch import input_shapes, pack
from export.config import encoder_config
from export.targets import TARGETS
from server.backends.onnxruntime.runtime import native_precisions


def config_for(target: str, precision: str = "fp16") -> ModelConfig:
    card = {"target": target, "precision": precision, "embed_dim": 64}
    return text_format.Parse(encoder_config(card), ModelConfig())


@pytest.mark.parametrize(
    ("flags", "precisions"),
    [
        ("avx2 avx512f", ["fp32"]),
        ("avx512_bf16", ["bf16", "fp32"]),
        ("amx_bf16 avx512_bf16 avx512_fp16", ["bf16", "fp32"]),
        ("amx_fp16 amx_bf16", ["fp16", "bf16", "fp32"]),
    ],
)
def test_the_fastest_and_then_the_most_exact_precision_comes_first(
    flags: str, precisions: list[str], tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n")
    assert native_precisions(cpuinfo) == precisions


def test_the_configuration_tells_a_cpu_the_precision() -> None:
    [accelerator] = config_for(
        "cpu", "bf16"
    ).optimization.execution_accelerators.cpu_execution_accelerator
    assert (accelerator.name, accelerator.parameters["precision"]) == ("openvino", "bf16")


@pytest.mark.parametrize(("target", "backend"), [("cuda", "onnxruntime"), ("tensorrt", "tensorrt")])
def test_a_gpu_gets_instances_large_batches_and_no_cpu_accelerator(
    target: str, backend: str
) -> None:
    config = config_for(target)
    assert config.backend == backend
    assert [group.kind for group in config.instance_group] == [ModelInstanceGroup.KIND_GPU]
    # The second convolution needs 3 taps of 512 channels at 32 positions per slot.
    samples = (CODEC_PADDING_SECONDS + contract.MAX_SECONDS) * layout.SAMPLE_RATE
    slots = config.max_batch_size * layout.slot_count(math.ceil(samples))
    assert slots * 32 * 3 * 512 < 2**31
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert not config.optimization.execution_accelerators.cpu_execution_accelerator


def test_the_tensorrt_accelerator_of_cuda_is_a_switch_that_parses() -> None:
    card = {"target": "cuda", "precision": "fp16", "embed_dim": 64}
    lines = encoder_config(card).splitlines()
    start = lines.index("# optimization {")
    end = lines.index("# }", start)
    switched = [line.removeprefix("# ") for line in lines[start : end + 1]]
    config = text_format.Parse("\n".join(lines + switched), ModelConfig())
    [accelerator] = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"


def test_the_shapes_a_plan_is_built_for_are_those_of_a_batch() -> None:
    for clips, samples in ((1, layout.WINDOW), (3, 1_000), (2, 30_000)):
        batch = pack([np.zeros(samples, np.float32)] * clips).inputs()
        assert {name: array.shape for name, array in batch.items()} == input_shapes(clips, samples)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "cuda"], "onnxruntime-gpu"),
        (["--target", "tensorrt"], "tensorrt"),
        (["--target", "cuda", "--precision", "bf16"], "--precision bf16 is for a CPU"),
    ],
)
def test_a_target_that_is_not_there_is_refused_at_once(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The test must also pass on a machine with a GPU.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*arguments, "--checkpoint", "random", "--model-repository", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_bf16_is_refused_at_once_where_the_cpu_lacks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_on_this_cpu", lambda: ["fp32"])
    assert main(["--precision=bf16", "--checkpoint=random", f"--model-repository={tmp_path}"]) == 1
    captured = capsys.readouterr()
    assert "AVX512-BF16): use auto or fp32" in captured.err
    assert not captured.out


def test_auto_takes_the_next_precision_where_one_is_too_far_from_funasr(
    tiny_checkpoint: Path,
    empty_repository: Callable[[], Path],
    graph_before: Callable[[str], Path],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = ("bf16", "fp32") if "bf16" in native_precisions() else ("fp16", "fp32")
    graph_before(first)
    request.getfixturevalue("graphs_from_before")
    target = TARGETS["cpu"]
    offered = {**target.__dict__, "precisions": lambda: [first, second]}
    monkeypatch.setitem(TARGETS, "cpu", type(target)(**offered))
    monkeypatch.setitem(verify.TOLERANCES, first, verify.Tolerance(1e-12, 1e-12, 1e-12))
    repository = empty_repository()
    arguments = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    assert main([*arguments, "--seed", "1"]) == 0
    assert f"{first} is too far from FunASR with these weights" in capsys.readouterr().out
    config = (repository / "encoder" / "config.pbtxt").read_text("utf-8")
    assert 'key: "precision" value: "fp32"' in config
