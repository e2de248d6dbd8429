"""The exported graph in the runtimes that serve it, against FunASR on the same folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import pytest

from export import samples, verify
from export.batch import pack
from export.checkpoint import load_folder
from export.onnx import STORED
from export.reference import Reference
from server.backends.onnxruntime.runtime import Session, native_precisions, open_session
from tests.conftest import ROOT, recordings, speech_like

PRECISIONS = ("fp32", "bf16", "fp16")


def openvino(precision: str) -> dict:
    """The part of a model configuration that selects OpenVINO."""
    accelerator = {"name": "openvino", "parameters": {"precision": precision}}
    accelerators = {"cpu_execution_accelerator": [accelerator]}
    return {"optimization": {"execution_accelerators": accelerators}}


@pytest.fixture(scope="module")
def graphs(exported: Callable[[str], Path]) -> dict[str, Path]:
    """The tiny checkpoint's graph in every precision."""
    return {
        # The graph for bf16 is the one for fp32; the runtime rounds it.
        precision: exported(precision.replace("bf16", "fp32")) / "encoder" / "1" / "model.onnx"
        for precision in PRECISIONS
    }


@pytest.fixture(scope="module", params=[openvino("fp32"), {}], ids=["openvino", "onnxruntime"])
def session(request: pytest.FixtureRequest, graphs: dict[str, Path]) -> Session:
    return open_session(graphs["fp32"], request.param)


def compare(session: Session, folder: Path) -> list[verify.Row]:
    checkpoint = load_folder(folder)
    clips = samples.test_clips(ROOT / "samples", seed=1)
    return verify.compare(session.run, Reference(checkpoint, checkpoint.build()).run, clips)


def test_equals_funasr_alone_and_batched(session: Session, tiny_checkpoint: Path) -> None:
    rows = compare(session, tiny_checkpoint)
    assert len(rows) >= len(samples.LENGTHS) + 14
    assert any(row.clip == "real/happy.flac" for row in rows)
    tolerance = verify.TOLERANCES["fp32"]
    assert all(row.within(tolerance) for row in rows), verify.table(rows, tolerance)
    flipped = [row.margin for row in rows if row.flipped]
    assert (
        verify.flips(flipped, len(rows))
        == f"the strongest emotion is FunASR's in all {len(rows)} clips"
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_keeps_its_tolerance_alone_and_batched(
    precision: str, graphs: dict[str, Path], tiny_checkpoint: Path
) -> None:
    """If the CPU lacks a precision, the runtime computes its graph in fp32."""
    computed = precision if precision in native_precisions() else "fp32"
    rows = compare(open_session(graphs[precision], openvino(computed)), tiny_checkpoint)
    # A tiny model has fewer channels over which bf16's rounding could average out.
    tolerance = (
        verify.Tolerance(6e-2, 6e-2, 2e-1, 6e-2)
        if precision == "bf16"
        else verify.TOLERANCES[precision]
    )
    assert all(row.within(tolerance) for row in rows), verify.table(rows, tolerance)


@pytest.mark.parametrize("precision", native_precisions())
def test_scores_sum_to_one_in_every_precision(precision: str, graphs: dict[str, Path]) -> None:
    session = open_session(graphs[precision], openvino(precision))
    outputs = session.run(pack([speech_like(9_000), speech_like(700)]).inputs(), SCORES)
    for name in SCORES:
        np.testing.assert_allclose(outputs[name].sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_is_reported_and_leaves_nothing_behind(
    threads: int, graphs: dict[str, Path]
) -> None:
    """With one thread, OpenVINO 2026.4 itself reports none, and still has the answer before it."""
    count = {"parameters": {"intra_op_thread_count": {"string_value": str(threads)}}}
    session = open_session(graphs["fp32"], openvino("fp32") | count)
    good, other = (pack([speech_like(samples)]).inputs() for samples in (4_000, 9_000))
    before = session.run(good, ["scores"])["scores"]
    with pytest.raises(RuntimeError):
        session.run({**other, "waveform": other["waveform"][:-1]}, ["scores"])
    np.testing.assert_array_equal(session.run(good, ["scores"])["scores"], before)


def test_a_loaded_graph_keeps_no_second_copy_of_its_weights_in_memory(
    graphs: dict[str, Path], tmp_path: Path
) -> None:
    # Use a copy, because other tests have loaded the original.
    path = copytree(graphs["fp32"].parent, tmp_path / "own").resolve() / "model.onnx"
    session = open_session(path, openvino("fp32"))
    session.run(pack([speech_like(4_000)]).inputs(), ["scores"])
    data = f"{path}.data"
    blocks = Path("/proc/self/smaps").read_text().split("VmFlags:")
    mapped = [block for block in blocks if data in block]
    resident = [int(block.split("\nRss:")[1].split()[0]) for block in mapped]
    assert sum(resident) * 1024 < Path(data).stat().st_size / 10


SCORES = ("scores", "frame_scores")
# fmt: off
FLOATS = {"FLOAT", "FLOAT16", "BFLOAT16"}
NUMBERS = FLOATS | {"INT32", "INT64"}
BOOLS = {"BOOL"}
ANY = NUMBERS | BOOLS
TENSORRT = {
    **dict.fromkeys(["Abs", "Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less"], NUMBERS),
    **dict.fromkeys(["LessOrEqual", "Max", "Min", "Mul", "Neg", "Pad", "Range", "Sub"], NUMBERS),
    **dict.fromkeys(["ReduceSum", "Sign", "Sum"], NUMBERS),
    **dict.fromkeys(["Clip", "Conv", "Erf", "Floor", "Gemm", "MatMul", "Softmax", "Sqrt"], FLOATS),
    "LayerNormalization": FLOATS,
    **dict.fromkeys(["Cast", "Concat", "Constant", "Expand", "Gather", "Identity"], ANY),
    **dict.fromkeys(["Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose"], ANY),
    **dict.fromkeys(["Unsqueeze", "Where"], ANY),
    **dict.fromkeys(["And", "Not", "Or"], BOOLS),
}
"""The types of each operator's data."""
# fmt: on
SHAPED_BY = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
"""The inputs that decide the shape of an operator's output."""


def test_only_the_asked_for_outputs_come(session: Session) -> None:
    inputs = pack([speech_like(4_000)]).inputs()
    assert list(session.run(inputs, ["scores"])) == ["scores"]


def test_answers_differ_between_recordings(session: Session) -> None:
    """Otherwise no comparison of scores could fail."""
    clips = samples.test_clips(ROOT / "samples", seed=1)
    top = [
        session.run(pack([clip]).inputs(), ["scores"])["scores"].max() for clip in clips.values()
    ]
    assert max(top) - min(top) >= 0.2


def test_bf16_weights_are_written_like_fp32() -> None:
    assert STORED["bf16"] == STORED["fp32"]


def test_fp16_weights_are_half_as_large(graphs: dict[str, Path]) -> None:
    half, whole = (Path(f"{graphs[name]}.data").stat().st_size for name in ("fp16", "fp32"))
    assert half == pytest.approx(whole / 2, rel=0.05)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_has_every_operator(precision: str, graphs: dict[str, Path]) -> None:
    """The list is docs/operators.md of its parser (10.1); LayerNormalization needs TensorRT 8.6."""
    graph = onnx.load(graphs[precision], load_external_data=False).graph
    assert {node.domain for node in graph.node} == {""}
    assert not {node.op_type for node in graph.node} - set(TENSORRT)
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        # The second input of Where is its data; the first one is the condition.
        data = node.input[1 if node.op_type == "Where" else 0]
        kind = onnx.TensorProto.DataType.Name(kinds[data])
        assert kind in TENSORRT[node.op_type], f"{node.op_type} of {kind}: {node.name}"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graph_has_no_shape_that_depends_on_values(
    precision: str, graphs: dict[str, Path]
) -> None:
    """TensorRT refuses such graphs: every shape must follow from the shapes of the inputs."""
    model = onnx.load(graphs[precision], load_external_data=False)
    known = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        # Values that follow from shapes and constants are known before the computation.
        if node.op_type == "Shape" or set(node.input) <= known:
            known |= set(node.output)
        deciding = [
            node.input[index]
            for index in SHAPED_BY.get(node.op_type, ())
            if index < len(node.input)
        ]
        assert set(deciding) <= known | {""}, f"{node.op_type} {node.name} takes {deciding}"
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "waveform": ["320*slots"],
        "frames": ["frames"],
        "longest": ["320*longest_slots"],
        "waveform_shape": ["clips", 2],
        "frames_shape": ["clips", 1],
        "scores": ["clips", 9],
        "embedding": ["clips", 64],
        "frame_scores": ["frames", 9],
        "frame_embedding": ["frames", 64],
    }


def test_the_card_tells_where_the_weights_come_from(
    tiny_repository: Path, tiny_checkpoint: Path
) -> None:
    card = json.loads((tiny_repository / "encoder" / "model_card.json").read_text("utf-8"))
    assert card["checkpoint"] == str(tiny_checkpoint)
    assert card["weights"] == "pretrained"
    assert card["precision"] == "fp32"
    assert len(card["sha256"]) == 64
    assert card["published"] is False
    names = {row["clip"] for row in card["verified"]["rows"]}
    assert {f"random {n}" for n in samples.LENGTHS} < names
    assert names & {path.name for path in recordings()}
