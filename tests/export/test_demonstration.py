"""`python -m demo` trains, judges and writes the demonstration model."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from demo.__main__ import main
from demo.corpus import EMOTIONS, RESERVED
from demo.training import Settings
from export import demonstration
from export.checkpoint import load_folder
from export.contract import LABELS
from export.errors import ExportError
from export.reference import Reference
from tests.conftest import speech_like

TINY = Settings(
    sounds=8, frontend_steps=2, sound_steps=2, speech_steps=2, components=4, batch=4, versions=1
)


def record(path: Path, seed: int) -> None:
    soundfile.write(path, speech_like(20_000 + 500 * (seed % 20), seed=seed), 16_000)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers with a recording of each emotion, and another angry one; two reserved ones."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, speaker in enumerate(("03", "13", *RESERVED)):
        for place, recording in enumerate((*(f"{emotion}a" for emotion in EMOTIONS), "Wb")):
            record(folder / f"{speaker}a01{recording}.flac", 100 * number + place)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(folder / "model.pt", weights_only=True)
    return dict(loaded["model"])


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
    rows = [
        [int(count) for count in line.split("|")[2:-2]]
        for line in text.splitlines()
        if line.startswith("| **")
    ]
    # Nothing of the reserved speakers is in it.
    assert sorted(map(sum, rows)) == [2] * 6 + [4]
    right = [row[place] for place, row in enumerate(rows)]
    recalls = [hits / sum(row) for hits, row in zip(right, rows, strict=True)]
    assert figures["uar"] == pytest.approx(sum(recalls) / 7, abs=1e-4)
    assert figures["accuracy"] == pytest.approx(sum(right) / 16, abs=1e-4)


def test_the_same_recordings_give_the_same_weights_which_never_heard_their_speaker(
    corpus: Path, tmp_path: Path
) -> None:
    for name in ("first", "other voice", "other training"):
        assert main([str(corpus), "-o", str(tmp_path / name)], TINY) == 0
        # What the left-out speaker says must not matter for the next time; the other speaker's
        # recordings matter for the last.
        changed = "13" if name == "first" else "03"
        for seed, path in enumerate(sorted(corpus.glob(f"{changed}*")), start=1000):
            record(path, seed)
    first = weights(tmp_path / "first")
    for name, same in (("other voice", True), ("other training", False)):
        others = weights(tmp_path / name)
        assert others.keys() == first.keys()
        assert all(torch.equal(tensor, others[key]) for key, tensor in first.items()) == same


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hello.wav", "hello.wav is not named as in Emo-DB"),
        ("03a01Xa.wav", "03a01Xa.wav is not named as in Emo-DB"),
        ("03a01Fa.wav", "has recordings of speaker 03, but 13 and another one are needed"),
        ("13a01Fa.wav", "has recordings of speaker 13, but 13 and another one are needed"),
        ("15a01Fa.wav", "has no recording to train on"),
        ("notes.txt", "has no recording to train on"),
    ],
)
def test_a_folder_of_other_things_is_refused(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / name, speech_like(16_000, seed=1), 16_000, format="WAV")
    assert main([str(tmp_path)], TINY) == 1
    assert said in capsys.readouterr().err


def test_a_damaged_recording_is_named(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "03a01Fa.flac").write_bytes(b"damaged")
    assert main([str(corpus)], TINY) == 1
    assert "cannot read" in (said := capsys.readouterr().err)
    assert "03a01Fa.flac" in said


def test_a_card_without_its_figure_says_how_to_restore_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "FOLDER", tmp_path)
    with pytest.raises(ExportError, match="git checkout demo/checkpoint"):
        demonstration.uar()
    (tmp_path / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    with pytest.raises(ExportError, match="does not state the recall"):
        demonstration.uar()
