"""Precisions and targets: which a machine offers, and their settings in config.pbtxt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import json_format, text_format
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from audio import layout
from audio.limits import CODEC_PADDING_SECONDS
from export import contract, targets, verify
from export.__main__ import main
from export.batch import input_shapes, pack
from export.config import encoder_config
from export.targets import TARGETS
from server.backends.onnxruntime.runtime import SpoiledError, native_precisions, open_session


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
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert not config.optimization.execution_accelerators.cpu_execution_accelerator


def test_cuda_computes_fp32_in_fp32_on_the_gpu_that_triton_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[str, dict[str, str]] = {}

    class Fake:
        def __init__(self, path: str, options: object, providers: list) -> None:
            opened.update(providers)

        def get_providers(self) -> list[str]:
            return list(opened)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fake)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    config = json_format.MessageToDict(config_for("cuda"), preserving_proto_field_name=True)
    open_session(tmp_path / "model.onnx", config, device=1)
    assert opened == {"CUDAExecutionProvider": {"device_id": "1", "use_tf32": "0"}}


@pytest.mark.parametrize(("told", "spoiled"), [
    ("CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h", True),
    ("CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc", False),
    ("Failed to allocate memory for requested buffer of size 700", False),
])  # fmt: skip
def test_a_gpu_that_computes_nothing_more_is_told_from_one_that_is_full(
    told: str, spoiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider"]

        def run(self, *_: object) -> None:
            raise RuntimeException(told)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fails)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    session = open_session(tmp_path / "model.onnx", {"instance_group": [{"kind": "KIND_GPU"}]})
    with pytest.raises(RuntimeError, match=told.partition(":")[0]) as failed:
        session.run({}, [])
    assert isinstance(failed.value, SpoiledError) == spoiled


def test_an_onnx_runtime_without_cuda_is_told_from_a_broken_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    config = {"instance_group": [{"kind": "KIND_GPU"}]}
    with pytest.raises(
        ValueError, match=r"no CUDAExecutionProvider.* pip install 'onnxruntime-gpu"
    ):
        open_session(tmp_path / "model.onnx", config)


@pytest.mark.parametrize("failure", ["falls back", "fails"])
def test_a_cuda_that_cannot_start_is_told_with_what_to_install(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FallsBack:
        def __init__(self, *_: object, **__: object) -> None:
            if failure == "fails":
                raise NoKernel("Could not find an implementation for PackedMultiHeadAttention")

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", FallsBack)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    config = {"instance_group": [{"kind": "KIND_GPU"}]}
    with pytest.raises((ValueError, RuntimeError), match=r"onnxruntime-gpu\[cuda,cudnn\]"):
        open_session(tmp_path / "model.onnx", config)


def test_an_accelerator_that_is_not_known_is_refused(tmp_path: Path) -> None:
    accelerators = {"gpu_execution_accelerator": [{"name": "tensorrt"}]}
    config = {
        "instance_group": [{"kind": "KIND_GPU"}],
        "optimization": {"execution_accelerators": accelerators},
    }
    with pytest.raises(ValueError, match="asks for tensorrt: this backend knows only cuda"):
        open_session(tmp_path / "model.onnx", config)


def test_a_plan_takes_every_clip_that_preprocess_lets_through() -> None:
    longest = (contract.MAX_SECONDS + CODEC_PADDING_SECONDS) * layout.SAMPLE_RATE
    assert longest < contract.MAX_SAMPLES


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
    monkeypatch.setitem(verify.TOLERANCES, first, verify.Tolerance(1e-12, 1e-12, 1e-12, 1e-12))
    repository = empty_repository()
    arguments = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    assert main([*arguments, "--seed", "1"]) == 0
    assert f"{first} is too far from FunASR with these weights" in capsys.readouterr().out
    config = (repository / "encoder" / "config.pbtxt").read_text("utf-8")
    assert 'key: "precision" value: "fp32"' in config
