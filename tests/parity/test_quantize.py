"""int8: the same emotions as FunASR, also with weights whose channels differ as trained ones do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export import quantize, samples, verify
from export.__main__ import main
from export.checkpoint import Checkpoint, load_folder
from export.errors import ExportError
from export.onnx import encoder_for, write_onnx
from export.quantize import LARGEST, QuantizedLinear
from export.reference import Reference
from server.backends.onnxruntime.runtime import open_session
from tests.conftest import ROOT, WriteCheckpoint, speech_like
from tests.parity.test_export import openvino

TOLERANCE = verify.TOLERANCES["int8"]
OUTLIERS = {5: 60.0, 23: -40.0, 41: 20.0}
"""Channels of the blocks' norms, and by what they are multiplied: as in trained transformers, a few
are much larger than the rest."""


def with_outliers(state: dict[str, torch.Tensor]) -> None:
    norms = [name for name in state if ".blocks." in name and "norm" in name and "weight" in name]
    assert norms
    for name in norms:
        for channel, factor in OUTLIERS.items():
            state[name][channel] *= factor
    for channel, factor in OUTLIERS.items():
        # The head does not follow them, or every answer would be certain.
        state["proj.weight"][:, channel] /= factor


@pytest.fixture(scope="module", params=["plain", "outliers"])
def checkpoint(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, write_checkpoint: WriteCheckpoint
) -> Checkpoint:
    if request.param == "plain":
        return load_folder(tiny_checkpoint)
    return load_folder(write_checkpoint(change_state=with_outliers))


@pytest.fixture(scope="module")
def recordings() -> dict[str, np.ndarray]:
    return samples.recordings(ROOT / "samples")


@pytest.fixture(scope="module")
def graph(
    checkpoint: Checkpoint,
    recordings: dict[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    encoder = encoder_for("cpu", checkpoint)
    # Half of the recordings, so that the others are new to it.
    done = quantize.quantize(encoder, list(recordings.values())[::2])
    assert len(done.layers) == 4 * len(encoder.blocks)
    assert done.kept == {}
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    write_onnx(encoder, path, "int8")
    return path


@pytest.mark.parametrize("config", [openvino("fp32"), {}], ids=["openvino", "onnxruntime"])
def test_a_clear_answer_stays_and_scores_are_near(
    config: dict, graph: Path, checkpoint: Checkpoint
) -> None:
    reference = Reference(checkpoint, checkpoint.build()).run
    clips = samples.test_clips(ROOT / "samples", seed=1)
    rows = verify.compare(open_session(graph, config).run, reference, clips, 4)
    assert all(row.within(TOLERANCE) for row in rows), verify.table(rows, TOLERANCE)
    # Otherwise no answer could become another one.
    assert sum(row.margin > verify.CLEAR_MARGIN for row in rows) > len(rows) / 2


def test_the_blocks_weights_are_eight_bits(graph: Path) -> None:
    model = onnx.load(graph, load_external_data=False)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    small = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and kinds.get(node.input[0]) == onnx.TensorProto.INT8
    ]
    rounded = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(small) == len(rounded) == 4 * 3
    largest = max(
        np.abs(onnx.numpy_helper.to_array(tensor)).max()
        for tensor in onnx.load(graph).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
    )
    # More would overflow in the 16 bits of a CPU without VNNI.
    assert largest == LARGEST


def test_dividing_large_channels_keeps_the_small_ones(checkpoint: Checkpoint) -> None:
    random = torch.Generator().manual_seed(1)
    linear = torch.nn.Linear(64, 32)
    x = torch.randn(500, 64, generator=random)
    for channel, factor in OUTLIERS.items():
        x[:, channel] *= factor
    low, high = x.amin(0), x.amax(0)
    with torch.inference_mode():
        truth = linear(x)
        # The large channels say nothing here, so that only the small ones count.
        linear.weight[:, list(OUTLIERS)] = 0
        truth = linear(x)
        errors = [
            float((QuantizedLinear(linear, low, high, alpha)(x) - truth).norm() / truth.norm())
            for alpha in (0.0, quantize.ALPHA)
        ]
    assert errors[1] < errors[0] / 5


def test_a_layer_that_eight_bits_would_change_stays(
    tiny_checkpoint: Path, recordings: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_for("cpu", load_folder(tiny_checkpoint))
    layer = encoder.blocks[1].fc2
    init = QuantizedLinear.__init__

    def coarse(self: QuantizedLinear, linear: torch.nn.Linear, *rest: object) -> None:
        init(self, linear, *rest)  # type: ignore[arg-type]
        if linear is layer:
            self.step.data *= 40

    monkeypatch.setattr(QuantizedLinear, "__init__", coarse)
    done = quantize.quantize(encoder, list(recordings.values())[:6])
    assert list(done.kept) == ["blocks.1.fc2"]
    assert done.kept["blocks.1.fc2"] > quantize.MOST_ERROR
    assert encoder.blocks[1].fc2 is layer
    assert isinstance(encoder.blocks[0].fc2, QuantizedLinear)


def test_layers_go_back_until_the_answers_hold(
    tiny_checkpoint: Path, recordings: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_for("cpu", load_folder(tiny_checkpoint))
    tried: list[int] = []

    def holds(truth: np.ndarray, found: np.ndarray) -> bool:
        tried.append(sum(isinstance(layer, QuantizedLinear) for layer in encoder.modules()))
        return len(tried) == 3

    monkeypatch.setattr(quantize, "_holds", holds)
    done = quantize.quantize(encoder, list(recordings.values())[:2])
    assert tried == [12, 9, 6]
    assert len(done.layers) == len(done.kept) == 6
    assert min(done.kept.values()) >= 0
    monkeypatch.setattr(quantize, "_holds", lambda truth, found: False)
    with pytest.raises(ExportError, match="whichever layer"):
        quantize.quantize(encoder_for("cpu", load_folder(tiny_checkpoint)), [speech_like(9_000)])


@pytest.fixture
def int8_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this machine export in int8."""
    monkeypatch.setattr("export.targets.computes", lambda precision: True)


@pytest.mark.usefixtures("int8_here")
def test_an_export_says_what_it_was_calibrated_on(
    tiny_checkpoint: Path,
    empty_repository: Callable[[], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = empty_repository()
    common = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    real = ROOT / "samples" / "real"
    arguments = [*common, "--precision", "int8", "--calibrate", str(real)]
    assert main([*arguments, "--verify-with", str(real)]) == 0
    card = json.loads((repository / "encoder" / "model_card.json").read_text("utf-8"))
    assert card["precision"] == "int8"
    assert card["int8"]["recordings"] == str(real)
    assert card["int8"]["count"] == 8
    assert len(card["int8"]["layers"]) == 12
    assert "12 layers are in int8" in capsys.readouterr().out
    config = (repository / "encoder" / "config.pbtxt").read_text("utf-8")
    # What is not a product of int8 is computed in this.
    assert 'key: "precision" value: "int8"' not in config


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int8", "--target", "cuda"], "--precision int8 is for a CPU"),
        (["--calibrate", "samples"], "--calibrate is for --precision int8"),
        (["--calibrate", "nowhere", "--precision", "int8"], "there is no folder nowhere"),
        (["--verify-with", "nowhere"], "there is no folder nowhere"),
        (["--calibrate", "docs", "--precision", "int8"], "docs has no recording that can be used"),
    ],
)
@pytest.mark.usefixtures("int8_here")
def test_what_cannot_be_calibrated_is_refused(
    options: list[str], said: str, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--checkpoint", str(tiny_checkpoint), *options]) == 1
    assert said in capsys.readouterr().err


def test_a_cpu_without_the_instructions_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("server.backends.onnxruntime.runtime.is_native", lambda precision: False)
    assert main(["--precision", "int8"]) == 1
    assert "neither AMX-INT8 nor VNNI" in capsys.readouterr().err
