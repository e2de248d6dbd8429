"""The exported file on the runtimes that serve it, and FunASR's own loader on the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from export import contract, verify
from export.checkpoint import load_folder
from export.layout import pack
from export.reference import Reference
from server.backends.onnxruntime.runtime import Session, open_session
from tests.conftest import ROOT, recordings, speech_like

FP32 = verify.TOLERANCES["fp32"]
OPENVINO = {
    "optimization": {
        "execution_accelerators": {
            "cpu_execution_accelerator": [{"name": "openvino", "parameters": {"precision": "fp32"}}]
        }
    }
}


@pytest.fixture(scope="module", params=[OPENVINO, {}], ids=["openvino", "onnxruntime"])
def session(request: pytest.FixtureRequest, tiny_repository: Path) -> Session:
    return open_session(tiny_repository / "encoder" / "1" / "model.onnx", request.param)


def test_equals_funasr_alone_and_batched(session: Session, tiny_checkpoint: Path) -> None:
    checkpoint = load_folder(tiny_checkpoint)
    clips = verify.test_clips(ROOT / "samples", seed=1)
    rows = verify.compare(session.run, Reference(checkpoint, checkpoint.build()).run, clips)
    assert len(rows) >= len(verify.LENGTHS) + 6
    assert all(row.within(FP32) for row in rows), verify.table(rows, FP32)


def test_only_the_asked_for_outputs_come(session: Session) -> None:
    inputs = pack([speech_like(4_000)]).inputs()
    assert list(session.run(inputs, ["scores"])) == ["scores"]


def test_answers_differ_between_recordings(session: Session) -> None:
    """With near-constant scores, no comparison of scores could fail."""
    clips = verify.test_clips(ROOT / "samples", seed=1)
    top = [
        session.run(pack([clip]).inputs(), ["scores"])["scores"].max() for clip in clips.values()
    ]
    assert max(top) - min(top) >= 0.2


def test_equals_funasrs_own_loading_and_decoding(
    session: Session, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """End to end: AutoModel reads the same folder and the same 16 kHz file with its own code."""
    from funasr import AutoModel

    clip = speech_like(40_000)
    soundfile.write(tmp_path / "clip.wav", clip, 16_000, subtype="FLOAT")
    model = AutoModel(model=str(tiny_checkpoint), disable_update=True, disable_pbar=True)
    [answer] = model.generate(str(tmp_path / "clip.wav"), granularity="utterance")
    outputs = session.run(pack([clip]).inputs(), ["scores", "embedding"])
    english = [label.split("/")[-1].replace("<unk>", "unknown") for label in answer["labels"]]
    expected = dict(zip(english, answer["scores"], strict=True))
    scores = dict(zip(contract.LABELS, outputs["scores"][0], strict=True))
    assert scores == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(outputs["embedding"][0], answer["feats"], rtol=1e-3, atol=1e-4)


def test_fp16_weights_are_half_as_large_and_close(
    tiny_checkpoint: Path, tiny_repository: Path, empty_repository
) -> None:
    from export.__main__ import main

    repository = empty_repository()
    arguments = ["--checkpoint", str(tiny_checkpoint), "--precision", "fp16", "--seed", "1"]
    assert main([*arguments, "--model-repository", str(repository)]) == 0
    sizes = [
        (each / "encoder" / "1" / "model.onnx.data").stat().st_size
        for each in (repository, tiny_repository)
    ]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.05)


def test_the_graph_has_no_shape_that_depends_on_values(tiny_repository: Path) -> None:
    """TensorRT refuses such graphs; every dimension must come from an input's shape."""
    model = onnx.load(tiny_repository / "encoder" / "1" / "model.onnx", load_external_data=False)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"NonZero", "Where", "Loop", "If", "Scan", "Unique", "Compress"}
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "waveform": ["320*slots"],
        "num_samples": ["clips", 1],
        "frames": ["frames"],
        "longest": ["320*longest_slots"],
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
    names = {row["clip"] for row in card["verified"]["rows"]}
    assert {f"random {n}" for n in verify.LENGTHS} < names
    assert names & {path.name for path in recordings()}
