"""The hardware that an export may target, and what each target needs on the exporting machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from export.errors import ExportError


@dataclass(frozen=True)
class Target:
    """What differs between the machines that serve the model.

    Attributes:
        backend: Name of Triton's backend.
        model_file: File that the backend loads.
        kind: Kind of Triton's instances.
        max_batch_size: Most clips in a batch.
        queue_delay: Microseconds that a batch waits for more clips.
        part_seconds: Most seconds of audio in a part, counting each clip as long as the longest;
            None if a batch is not computed in parts.
        precisions: Returns the precisions on offer, in the order in which ``auto`` tries them.
    """

    backend: str
    model_file: str
    kind: str
    max_batch_size: int
    queue_delay: int
    part_seconds: int | None
    precisions: Callable[[], list[str]]


def _on_this_cpu() -> list[str]:
    # Imported here, because --help must not wait for NumPy.
    from server.backends.onnxruntime.runtime import native_precisions

    return native_precisions()


def _on_a_gpu() -> list[str]:
    return ["fp16", "fp32"]


TARGETS = {
    # On a CPU, batching gains up to a tenth with short clips and loses with long ones. NVIDIA's
    # backend cannot compute in parts, and eight clips of 30 s at once take 8.4 GB.
    "cpu": Target("onnxruntime", "model.onnx", "KIND_CPU", 4, 0, 16, _on_this_cpu),
    # 2 ms of waiting fill a batch.
    "cuda": Target("onnxruntime", "model.onnx", "KIND_GPU", 32, 2000, None, _on_a_gpu),
    # More than 28 clips of 31 s need a tensor of 2^31 elements in the frontend.
    "tensorrt": Target("tensorrt", "model.plan", "KIND_GPU", 28, 2000, None, _on_a_gpu),
}


def computes(precision: str) -> bool:
    """Whether a graph in this precision can be served on this CPU.

    In fp16 it always can: without the instructions, the file is half as large and is computed in
    fp32. In bf16 and int8 it would be slower than in fp32, and less exact.
    """
    from server.backends.onnxruntime.runtime import is_native

    return precision in ("auto", "fp16") or is_native(precision)


def check(target: str, precision: str) -> None:
    """Refuses what this machine cannot export, before anything is computed.

    Raises:
        ExportError: Says what is missing.
    """
    if target == "cpu" and not computes(precision):
        lacking = "AMX-BF16 nor AVX512-BF16" if precision == "bf16" else "AMX-INT8 nor VNNI"
        raise ExportError(
            f"this CPU cannot compute --precision {precision} natively (it has neither {lacking}): "
            "use auto or fp32"
        )
    if target != "cpu" and precision in ("bf16", "int8"):
        raise ExportError(
            f"--precision {precision} is for a CPU: use fp16 or fp32 for --target {target}"
        )
    if target == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ExportError(
                "--target cuda needs ONNX Runtime's CUDA provider, which is not available: "
                "export on the machine with the GPU, with onnxruntime-gpu installed"
            )
    if target == "tensorrt":
        import torch

        if importlib.util.find_spec("tensorrt") is None:
            raise ExportError(
                "--target tensorrt needs the Python package tensorrt, which is not installed: "
                "export in an NVIDIA container that has the TensorRT version of the serving Triton"
            )
        if not torch.cuda.is_available():
            raise ExportError(
                "--target tensorrt builds a plan on the GPU it will run on, and PyTorch sees none "
                "here: export on that machine, with a PyTorch built for CUDA"
            )
