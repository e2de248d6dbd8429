"""One side of the comparison in benchmarks/encoder.py: ``benchmarks.encoder_side SIDE``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.batch import pack
from export.contract import EMBEDDING
from export.sides import Answer, noise, serve, timed
from export.targets import TARGETS
from server.backends.onnxruntime.runtime import native_precisions, open_session

if TYPE_CHECKING:
    from export.checkpoint import Checkpoint

MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of a matrix that is large enough for the device's full speed."""
GRAPH = "model.onnx"


def main() -> None:
    """Answers requests until the input ends."""
    options = parse()
    serve(lambda: side(options))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder_side", description=__doc__)
    parser.add_argument("side", choices=("prepare", "matrix", "funasr", "onnxruntime", "openvino"))
    parser.add_argument("--checkpoint", required=True, help="a folder, or random[:SIZE]")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the graphs")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args(argv)


def side(options: argparse.Namespace) -> Answer:
    """The function that answers requests for the side in the options."""
    if options.side == "prepare":
        return _prepare(options)
    if options.side == "matrix":
        return _matrix_rates(options.device)
    if options.side == "funasr":
        return _funasr(_load(options.checkpoint), options)
    return _runtime(options)


# Only the sides that need PyTorch and FunASR import them: they would add to a runtime's memory.


def _load(source: str) -> Checkpoint:
    from export.checkpoint import load_folder
    from export.replica import random_checkpoint

    if source.split(":")[0] == "random":
        return random_checkpoint(source.partition(":")[2] or "large")
    return load_folder(Path(source))


def _prepare(options: argparse.Namespace) -> Answer:
    from export.onnx import encoder_for, write_onnx

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        """Exports the graphs, and returns the precisions that this machine supports."""
        checkpoint = _load(options.checkpoint)
        precisions = TARGETS[options.device].precisions()
        for precision in precisions:
            (options.folder / precision).mkdir()
            encoder = encoder_for(options.device, checkpoint)
            write_onnx(encoder, options.folder / precision / GRAPH, precision)
        return {"precisions": precisions, "gpu": _gpu(options.device)}

    return answer


def _gpu(device: str) -> str | None:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else None


def _matrix_rates(device: str) -> Answer:
    import torch

    size = MATRIX[device]
    kinds = {"fp32": torch.float32}
    # Without bf16 in the hardware, PyTorch takes minutes for one product.
    if device == "cuda" or "bf16" in native_precisions():
        kinds["bf16"] = torch.bfloat16

    def wait() -> None:
        # A GPU computes asynchronously: the call returns before the product is computed.
        if device == "cuda":
            torch.cuda.synchronize()

    def answer(request: dict[str, Any]) -> dict[str, float]:
        """The speed of this machine's matrix products in PyTorch, in FLOP per second."""
        rates = {}
        for name, dtype in kinds.items():
            a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            seconds = []
            for _ in range(3):
                wait()
                started = time.perf_counter()
                a @ b
                wait()
                seconds.append(time.perf_counter() - started)
            # The first one prepares the kernel.
            rates[name] = 2 * size**3 / float(np.median(seconds[1:]))
        return rates

    return answer


def _funasr(checkpoint: Checkpoint, options: argparse.Namespace) -> Answer:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from export.reference import Reference

    # PyTorch rounds convolutions to TF32 by default: FunASR's embeddings would be 3e-4 off.
    torch.backends.cudnn.allow_tf32 = False
    reference = Reference(checkpoint, checkpoint.build(), options.device)
    half = options.precision == "fp16"

    def run(clips: list[np.ndarray]) -> np.ndarray:
        # The answers are NumPy arrays, so a GPU has computed them when the call returns.
        with torch.autocast(options.device, torch.float16, enabled=half):
            return np.stack([reference.run(clip).embedding for clip in clips]).astype(np.float32)

    time_it = timed(run)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if not request.get("count"):
            return time_it(request)
        with FlopCounterMode(display=False) as counter:
            run([noise(samples) for samples in request["clips"]])
        return {"flop": counter.get_total_flops()}

    return answer


def _runtime(options: argparse.Namespace) -> Answer:
    config: dict[str, Any] = {}
    if options.side == "openvino":
        accelerator = {"name": "openvino", "parameters": {"precision": options.precision}}
        accelerators = {"cpu_execution_accelerator": [accelerator]}
        config["optimization"] = {"execution_accelerators": accelerators}
    elif options.device == "cuda":
        config["instance_group"] = [{"kind": "KIND_GPU"}]
        # As an export configures it: fp32 is fp32, and not TF32.
        accelerator = {"name": "cuda", "parameters": {"use_tf32": "0"}}
        accelerators = {"gpu_execution_accelerator": [accelerator]}
        config["optimization"] = {"execution_accelerators": accelerators}
    session = open_session(options.folder / options.precision / GRAPH, config)
    name = EMBEDDING.name
    return timed(lambda clips: session.run(pack(clips).inputs(), [name])[name])


if __name__ == "__main__":
    main()
