"""Writes the packed encoder as an ONNX file with external data."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch

from audio.layout import EXTRA_SLOTS, SLOT
from export.batch import pack
from export.checkpoint import Checkpoint
from export.contract import ENCODER_OUTPUTS
from export.errors import ExportError
from export.fused import FusedEncoder
from export.graph import PackedEncoder

STORED = {
    "fp32": torch.float32,
    "bf16": torch.float32,
    "fp16": torch.float16,
    "int8": torch.float32,
}
"""The type that stores the weights of each precision; in int8, those that are not rounded. For bf16
it is fp32, and the runtime rounds: ONNX Runtime has no bf16 on a CPU, and fp16 weights would be
rounded twice."""


ENCODERS = {"cpu": PackedEncoder, "cuda": FusedEncoder, "tensorrt": PackedEncoder}
"""The graph that each target computes best."""


def encoder_for(target: str, checkpoint: Checkpoint) -> PackedEncoder:
    """Builds a target's graph with a checkpoint's weights."""
    return ENCODERS[target](checkpoint.build(), checkpoint.label_order())


def write_onnx(encoder: PackedEncoder, path: Path, precision: str) -> None:
    """Exports the graph with dynamic shapes.

    Args:
        encoder: The graph; converted to the precision in place.
        path: Where to write; the weights go beside it, with ``.data`` added to the name.
        precision: One of ``STORED``. Norms, attention's softmax and everything after the last
            block stay in fp32.

    Raises:
        ExportError: PyTorch cannot export the graph.
    """
    encoder = encoder.to(STORED[precision]).eval()
    # Three clips of different lengths, because a size of one would become a constant.
    example = pack([torch.randn(samples).numpy() for samples in (1600, 3000, 900)])
    slots = torch.export.Dim("slots", min=EXTRA_SLOTS + 2)
    longest = torch.export.Dim("longest_slots", min=EXTRA_SLOTS + 2)
    clips = torch.export.Dim("clips", max=1024)
    shapes = (
        {0: SLOT * slots},
        {0: torch.export.Dim("frames")},
        {0: SLOT * longest},
        {0: clips},
        {0: clips},
    )
    # They report folded constants, or a missing torchvision: a user can do nothing about it.
    for chatty in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            # PyTorch's own exporter causes it.
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            # It names the clips of two inputs once, as it should.
            warnings.filterwarnings("ignore", ".*axis name: clips", UserWarning)
            program = torch.onnx.export(
                encoder,
                tuple(torch.from_numpy(array) for array in example.inputs().values()),
                dynamo=True,
                opset_version=encoder.opset,
                input_names=list(example.inputs()),
                output_names=[tensor.name for tensor in ENCODER_OUTPUTS],
                dynamic_shapes=shapes,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"PyTorch cannot export the graph: {error}") from error
    if program is None:
        raise ExportError("PyTorch returned no program for the graph")
    program.save(str(path), external_data=True)
