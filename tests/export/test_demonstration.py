"""`python -m demo` trains, judges and writes the demonstration model."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from demo.__main__ import main
from demo.corpus import EMOTIONS
from demo.training import Settings
from export.checkpoint import load_folder
from export.contract import LABELS
from export.reference import Reference
from tests.conftest import speech_like

TINY = Settings(
    sounds=8, hearing_steps=2, sound_steps=2, speech_steps=2, measures=4, batch=4, versions=1
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for speaker in ("03", "13"):
        for place, emotion in enumerate(EMOTIONS):
            clip = speech_like(20_000 + 2_000 * place, seed=place)
            soundfile.write(folder / f"{speaker}a01{emotion}a.flac", clip, 16_000)
    return folder


def test_it_writes_a_checkpoint_with_its_card(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert main([str(corpus), "-o", str(folder)], TINY) == 0
    checkpoint = load_folder(folder)
    scores = Reference(checkpoint, checkpoint.build()).run(speech_like(32_000, seed=1)).scores
    for never in ("surprised", "unknown"):
        assert scores[LABELS.index(never)] < 1e-3
    front, text = (folder / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    [result] = yaml.safe_load(front)["model-index"][0]["results"]
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    # Each speaker has one clip of each emotion: both measures are the same, and count in 14ths.
    assert figures["uar"] == figures["accuracy"]
    assert (figures["uar"] * 14) % 1 == pytest.approx(0, abs=1e-2)
    rows = [line.split("|")[2:-2] for line in text.splitlines() if line.startswith("| **")]
    assert [sum(map(int, row)) for row in rows] == [2] * 7


def test_the_same_seed_gives_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    states = []
    for name in ("first", "second"):
        assert main([str(corpus), "-o", str(tmp_path / name)], TINY) == 0
        states.append(torch.load(tmp_path / name / "model.pt", weights_only=True)["model"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hello.wav", "hello.wav is not named as in Emo-DB"),
        ("03a01Xa.wav", "03a01Xa.wav is not named as in Emo-DB"),
        ("03a01Fa.wav", "has no recording of speaker 13"),
        ("notes.txt", "has no FLAC or WAV file"),
    ],
)
def test_a_folder_of_other_things_is_refused(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / name, speech_like(16_000, seed=1), 16_000, format="WAV")
    assert main([str(tmp_path)], TINY) == 1
    assert said in capsys.readouterr().err
