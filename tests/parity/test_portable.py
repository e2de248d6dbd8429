"""The portable ONNX file, on plain ONNX Runtime, gives FunASR's answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export import portable, samples, verify
from export.__main__ import main
from export.checkpoint import load_folder
from export.contract import LABELS
from export.errors import ExportError
from export.reference import Reference
from tests.conftest import speech_like

LENGTHS = (400, 401, 639, 640, 719, 720, 721, 1039, 1040, 16_000, 52_345, 480_000)


@pytest.fixture(scope="module")
def file(tiny_checkpoint: Path, one_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("portable") / "emotion2vec.onnx"
    arguments = ["--checkpoint", str(tiny_checkpoint), "--portable", str(target)]
    assert main([*arguments, "--verify-with", str(one_clip)]) == 0
    return target


@pytest.fixture(scope="module")
def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> verify.Answerer:
    checkpoint = load_folder(tiny_checkpoint)
    return Reference(checkpoint, checkpoint.build()).run


@pytest.mark.parametrize("samples", LENGTHS)
def test_it_answers_a_clip_as_it_is(
    samples: int, session: onnxruntime.InferenceSession, reference: verify.Answerer
) -> None:
    # Not normalised, and with an offset.
    clip = 0.1 * speech_like(samples, seed=samples) + np.float32(0.05)
    scores, embedding, frame_scores = session.run(
        ["scores", "embedding", "frame_scores"], {"waveform": clip}
    )
    truth = reference(clip)
    np.testing.assert_allclose(scores[0], truth.scores, atol=1e-5)
    np.testing.assert_allclose(frame_scores, truth.frame_scores, atol=1e-4)
    assert np.linalg.norm(embedding[0] - truth.embedding) < 1e-4 * np.linalg.norm(truth.embedding)


def test_it_is_one_file_that_says_what_it_is(
    file: Path, session: onnxruntime.InferenceSession, tiny_checkpoint: Path
) -> None:
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    onnx.checker.check_model(file, full_check=True)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == list(LABELS)
    assert facts["checkpoint"] == str(tiny_checkpoint)
    assert (facts["weights"], facts["precision"]) == ("pretrained", "fp32")
    assert (facts["sample_rate"], facts["frame_hop_seconds"]) == ("16000", "0.02")


def test_int8_keeps_clear_answers_on_a_machine_without_its_instructions(
    reference: verify.Answerer, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.onnx"
    arguments = ["--checkpoint", str(tiny_checkpoint), "--portable", str(small)]
    assert main([*arguments, "--precision", "int8"]) == 0
    session = portable.open_portable(small)
    for name, clip in samples.recordings(samples.SAMPLES).items():
        truth, found = reference(clip), portable.answer(session, clip)
        assert np.abs(found.scores - truth.scores).max() < verify.TOLERANCES["int8"].scores, name
        if verify.margin(truth.scores) > verify.CLEAR_MARGIN:
            assert found.scores.argmax() == truth.scores.argmax(), name


def test_the_check_sees_a_file_that_answers_otherwise(
    file: Path, reference: verify.Answerer
) -> None:
    session = portable.open_portable(file)
    clips = {"clip": speech_like(16_000)}
    fp32 = verify.TOLERANCES["fp32"]
    assert portable.check(session, reference, clips, fp32)[0] < 1e-5
    with pytest.raises(ExportError, match="too far from FunASR on clip: scores"):
        portable.check(session, lambda clip: reference(-clip[::-1]), clips, fp32)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "bf16"], "bf16"),
        (["--portable", "nowhere/emotion2vec.onnx"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_written_is_refused(
    options: list[str],
    said: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = ["--checkpoint", str(tiny_checkpoint), "--portable", str(tmp_path / "a.onnx")]
    assert main([*common, *options]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
