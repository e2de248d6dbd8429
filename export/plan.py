"""Builds a TensorRT plan from the graph, for exactly this GPU and this TensorRT version.

It has not run yet: there was no TensorRT on the GPU that was tried (docs/gpu.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorrt
import torch

from audio.layout import SAMPLE_RATE, WINDOW
from export.batch import input_shapes
from export.contract import MAX_SAMPLES
from export.errors import ExportError

LOGGER = tensorrt.Logger(tensorrt.Logger.WARNING)
TYPICAL = (8, 10 * SAMPLE_RATE)
"""Number of clips, and samples per clip, for which TensorRT chooses its kernels."""


def build_plan(graph: Path, plan: Path, precision: str, max_batch_size: int) -> None:
    """Compiles an ONNX file.

    Args:
        graph: The ONNX file. Its own types decide the precision.
        plan: Where to write.
        precision: Of the graph. In fp32, TensorRT must not round products to TF32.
        max_batch_size: Clips in the largest batch; each may have MAX_SAMPLES.

    Raises:
        ExportError: TensorRT cannot read the graph or finds no kernels for it.
    """
    builder = tensorrt.Builder(LOGGER)
    flag = tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = tensorrt.OnnxParser(network, LOGGER)
    if not parser.parse_from_file(str(graph)):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT {tensorrt.__version__} cannot read the graph: {errors}")
    config = builder.create_builder_config()
    if precision == "fp32":
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, max_batch_size))
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ExportError(
            f"TensorRT {tensorrt.__version__} cannot build a plan for batches of {max_batch_size} "
            "clips: see its messages above"
        )
    plan.write_bytes(serialized)


def _profile(builder: tensorrt.Builder, max_batch_size: int) -> tensorrt.IOptimizationProfile:
    """The allowed shapes of the inputs: from one shortest clip to the fullest batch."""
    profile = builder.create_optimization_profile()
    cases = ((1, WINDOW), TYPICAL, (max_batch_size, MAX_SAMPLES))
    smallest, typical, largest = (input_shapes(*case) for case in cases)
    for name in smallest:
        profile.set_shape(name, smallest[name], typical[name], largest[name])
    return profile


class PlanSession:
    """Runs a plan on this machine's GPU to verify it; Triton's own backend serves it."""

    def __init__(self, plan: Path):
        engine = tensorrt.Runtime(LOGGER).deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise ExportError(f"TensorRT {tensorrt.__version__} cannot load the plan it built")
        self._engine, self._context = engine, engine.create_execution_context()

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Computes the named outputs.

        Raises:
            RuntimeError: TensorRT refused the shapes or failed.
        """
        tensors = {name: torch.from_numpy(array).cuda() for name, array in inputs.items()}
        for name, tensor in tensors.items():
            if not self._context.set_input_shape(name, tuple(tensor.shape)):
                raise RuntimeError(f"{name} {tuple(tensor.shape)} is outside the plan's profile")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        for name in names:
            if name not in tensors:
                # All outputs of the graph are fp32.
                tensors[name] = torch.empty(
                    tuple(self._context.get_tensor_shape(name)), device="cuda"
                )
            self._context.set_tensor_address(name, tensors[name].data_ptr())
        stream = torch.cuda.current_stream()
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT could not run the plan: see its messages above")
        stream.synchronize()
        return {name: tensors[name].cpu().numpy() for name in outputs}
