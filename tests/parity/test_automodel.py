"""FunASR's public ``AutoModel`` and the service, on the same folder and the same files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from emotion2vec_client import Client
from tests.conftest import speech_like

if TYPE_CHECKING:
    from funasr import AutoModel

LENGTHS = (400, 16_000, 52_345, 480_000)
"""Lengths in samples; clips have 16 kHz, so that neither side resamples."""


def load(folder: Path) -> AutoModel:
    """Loads a folder like FunASR's users: it also builds the decoder, and warns of its keys."""
    import funasr  # Here, because it takes each worker ten seconds.
    from funasr import AutoModel

    # Users of FunASR get all submodules; `export.emotion2vec` leaves most out.
    funasr.import_submodules("funasr")
    return AutoModel(model=str(folder), disable_update=True, disable_pbar=True)


@pytest.fixture(scope="module")
def funasr(tiny_checkpoint: Path) -> AutoModel:
    return load(tiny_checkpoint)


def test_funasr_builds_the_decoder_for_which_the_file_has_nothing(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tiny_checkpoint)
    printed = capsys.readouterr().out
    assert "miss key in ckpt: modality_encoders.AUDIO.decoder.blocks.0.0.weight" in printed
    assert printed.count("miss key in ckpt") == printed.count(".AUDIO.decoder.")


@pytest.mark.parametrize("samples", LENGTHS)
def test_the_service_answers_as_automodel_does(
    samples: int, funasr: AutoModel, client: Client, tmp_path: Path
) -> None:
    path = str(tmp_path / "clip.wav")
    soundfile.write(path, speech_like(samples, seed=samples), 16_000, subtype="PCM_16")
    ours = client.predict(path, granularity="frame", embedding=True)
    [theirs] = generate(funasr, path, "utterance")
    english = [label.split("/")[-1].replace("<unk>", "unknown") for label in theirs["labels"]]
    expected = dict(zip(english, theirs["scores"], strict=True))
    assert dict(ours.scores) == pytest.approx(expected, abs=1e-5)
    assert ours.embedding is not None
    assert relative(ours.embedding, theirs["feats"]) < 1e-4
    [by_frame] = generate(funasr, path, "frame")
    assert ours.frames is not None
    assert ours.frames.embedding is not None
    assert ours.frames.embedding.shape == by_frame["feats"].shape
    assert relative(ours.frames.embedding, by_frame["feats"]) < 1e-4


def generate(funasr: AutoModel, path: str, granularity: str) -> list[dict[str, Any]]:
    """Calls FunASR as in its README."""
    answer: list[dict[str, Any]] = funasr.generate(
        path, granularity=granularity, extract_embedding=True
    )
    return answer


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
