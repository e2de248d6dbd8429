"""The graph for CUDA in ONNX Runtime on the CPU, against FunASR; and what its batches take.

The CPU has no ``PackedMultiHeadAttention``. Here a function of standard operators takes its place,
which computes what ONNX Runtime's documentation says. tests/parity/test_gpu.py runs the real one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from audio.layout import frame_count, slot_count
from export import fused, samples, verify
from export.checkpoint import Checkpoint, load_folder
from export.contract import MAX_SAMPLES
from export.fused import FusedEncoder
from export.graph import PackedEncoder
from export.onnx import write_onnx
from export.reference import Reference
from export.replica import Size
from export.targets import TARGETS
from tests.conftest import ROOT, WriteCheckpoint

OURS = "emotion2vec"
ATTENTION = """
<domain: "emotion2vec", opset_import: ["" : 20]>
PackedMultiHeadAttention <num_heads, scale> (qkv, k, v, bias, cells, starts, alibi) => (y)
{
  heads = Constant <value_int: int = @num_heads> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  parts = Constant <value_ints = [3]> ()
  rest = Constant <value_ints = [-1]> ()
  many = Unsqueeze (heads, zero)
  by_head = Concat <axis = 0> (parts, many, rest)
  bias_of_part = Reshape (bias, by_head)
  bias_of_head = Transpose <perm = [1, 0, 2]> (bias_of_part)
  biased = Add (qkv, bias_of_head)
  each = Transpose <perm = [2, 1, 0, 3]> (biased)
  first, second, third = Split <axis = 0, num_outputs = 3> (each)
  query = Squeeze (first, zero)
  key = Squeeze (second, zero)
  value = Squeeze (third, zero)
  shape = Shape (qkv)
  start = Constant <value_int = 0> ()
  step = Constant <value_int = 1> ()
  tokens = Gather (shape, start)
  token = Range (start, tokens, step)
  column = Unsqueeze (token, one)
  begins = Cast <to = 7> (starts)
  after = GreaterOrEqual (column, begins)
  counted = Cast <to = 7> (after)
  begun = ReduceSum <keepdims = 0> (counted, one)
  sequence = Sub (begun, step)
  begin = Gather (begins, sequence)
  position = Sub (token, begin)
  rows = Unsqueeze (sequence, one)
  columns = Unsqueeze (sequence, zero)
  same = Equal (rows, columns)
  grid = Squeeze (alibi, zero)
  of_rows = Gather <axis = 1> (grid, position)
  of_cells = Gather <axis = 2> (of_rows, position)
  turned = Transpose <perm = [0, 2, 1]> (key)
  products = MatMul (query, turned)
  logits = Add (products, of_cells)
  never = Constant <value_float = -30000.0> ()
  masked_out = CastLike (never, logits)
  masked = Where (same, logits, masked_out)
  weights = Softmax <axis = -1> (masked)
  attended = MatMul (weights, value)
  by_token = Transpose <perm = [1, 0, 2]> (attended)
  flat = Constant <value_ints = [0, -1]> ()
  y = Reshape (by_token, flat)
}
"""


class CpuSession:
    """ONNX Runtime on the CPU, for a graph with ``PackedMultiHeadAttention``."""

    def __init__(self, path: Path):
        model = onnx.load(path)
        for node in model.graph.node:
            if node.op_type == "PackedMultiHeadAttention":
                node.domain = OURS
        model.functions.append(onnx.parser.parse_function(ATTENTION))
        model.opset_import.append(onnx.helper.make_opsetid(OURS, 1))
        self._session = onnxruntime.InferenceSession(model.SerializeToString())

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        return dict(zip(outputs, self._session.run(list(outputs), dict(inputs)), strict=True))


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_folder(tiny_checkpoint)


def written(
    kind: type[PackedEncoder], checkpoint: Checkpoint, folder: Path, precision: str = "fp32"
) -> Path:
    path = folder / "model.onnx"
    write_onnx(kind(checkpoint.build(), checkpoint.label_order()), path, precision)
    return path


def test_equals_funasr_alone_and_batched_in_one_piece_and_in_several(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shortest clip is one piece, and one of 3 s is four.
    monkeypatch.setattr(fused.PiecewiseFrontend, "MOST_SLOTS", 50)
    path = written(FusedEncoder, checkpoint, tmp_path)
    operators = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    assert {"PackedMultiHeadAttention", "SkipLayerNormalization", "BiasGelu", "Scan"} <= operators
    assert not {"Conv", "Softplus"} & operators
    recordings = samples.test_clips(ROOT / "samples" / "real", seed=1)
    # Without the long ones: here attention takes memory for every pair of the batch's tokens.
    clips = {name: clip for name, clip in recordings.items() if len(clip) < 60_000}
    reference = Reference(checkpoint, checkpoint.build()).run
    rows = verify.compare(CpuSession(path).run, reference, clips, batch_size=8)
    tolerance = verify.TOLERANCES["fp32"]
    assert all(row.within(tolerance) for row in rows), verify.table(rows, tolerance)


# The widths of the large model, and few layers: a batch's memory is that of one layer.
LARGE = Size(1024, 16, 1, 1, decoder_dim=32)
GIGABYTES = {"cuda": 3.0, "tensorrt": 20.0}
"""The most that the tensors of the fullest batch take at a time, without the weights."""
ALIASES = {"Reshape", "Squeeze", "Unsqueeze"}


class Sizes:
    """How large the tensors of a graph are for a given batch, from the shapes in the ONNX file."""

    def __init__(self, graph: onnx.GraphProto, values: dict[str, int]):
        self.graph = graph
        self._values = values
        self._info = {info.name: info.type.tensor_type for info in graph.value_info}

    def elements(self, name: str) -> int:
        """The number of elements of a tensor; 0 for one without a shape."""
        info = self._info.get(name)
        if info is None:
            return 0
        dims = (d.dim_param or d.dim_value for d in info.shape.dim)
        # The expressions are PyTorch's: sums, products and quotients of the inputs' lengths.
        return math.prod(eval(str(d), {"Min": min, "Max": max}, self._values) for d in dims)

    def most_bytes(self) -> int:
        """The most that tensors take at a time, if each is freed after its last use."""
        base: dict[str, str] = {}
        last: dict[str, int] = {}
        for number, node in enumerate(self.graph.node):
            for name in node.input:
                last[base.get(name, name)] = number
            if node.op_type in ALIASES:
                base[node.output[0]] = base.get(node.input[0], node.input[0])
        most, alive = 0, dict[str, int]()
        for number, node in enumerate(self.graph.node):
            for name in node.output:
                if name in self._info and name not in base:
                    bits = onnx.helper.tensor_dtype_to_np_dtype(self._info[name].elem_type)
                    alive[name] = self.elements(name) * bits.itemsize
            most = max(most, sum(alive.values()))
            alive = {name: size for name, size in alive.items() if last.get(name, 0) > number}
        return most


def fullest(graph: onnx.GraphProto, target: str) -> dict[str, int]:
    """The values of the file's symbols for the fullest batch of a target."""
    clips = TARGETS[target].max_batch_size
    symbols = {
        info.name: re.findall(
            r"\bs\d+", " ".join(d.dim_param for d in info.type.tensor_type.shape.dim)
        )
        for info in graph.value_info
    }
    # PyTorch numbers its symbols. The first one to come out of the waveform counts its slots.
    followed, slots = {"waveform"}, ""
    for node in graph.node:
        if not slots and node.op_type != "Shape" and followed & set(node.input):
            followed |= set(node.output)
            slots = next((symbol for name in node.output for symbol in symbols[name]), "")
    [longest] = {symbol for found in symbols.values() for symbol in found} - {slots}
    return {
        "clips": clips,
        "frames": clips * frame_count(MAX_SAMPLES),
        slots: clips * slot_count(MAX_SAMPLES),
        longest: slot_count(MAX_SAMPLES),
        "slots": clips * slot_count(MAX_SAMPLES),
        "longest_slots": slot_count(MAX_SAMPLES),
    }


@pytest.mark.parametrize(("target", "kind"), [("cuda", FusedEncoder), ("tensorrt", PackedEncoder)])
def test_the_fullest_batch_has_no_tensor_that_is_too_large_and_fits_into_memory(
    target: str, kind: type[PackedEncoder], write_checkpoint: WriteCheckpoint, tmp_path: Path
) -> None:
    checkpoint = load_folder(write_checkpoint(LARGE))
    path = written(kind, checkpoint, tmp_path, "fp16")
    graph = onnx.load(path, load_external_data=False).graph
    values = fullest(graph, target)
    loops = [a.g for node in graph.node for a in node.attribute if a.name == "body"]
    parts = [Sizes(part, values) for part in (graph, *loops)]
    for part in parts:
        for info in part.graph.value_info:
            assert part.elements(info.name) < 2**31, info.name
    # A loop runs while the tensors around it are in memory.
    most = sum(part.most_bytes() for part in parts)
    assert most < GIGABYTES[target] * 1e9, f"{most / 1e9:.1f} GB"
