"""Writes the model card: what the model is, and how good it is on speakers it never heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from demo.corpus import RESERVED, Recording
from export.checkpoint import load_folder
from export.contract import LABELS
from export.reference import Reference

TEXT = Path(__file__).with_suffix(".md")
SAMPLES = Path(__file__).resolve().parents[1] / "samples" / "real"
SPOKEN = {
    "angry": "angry",
    "bored": "other",
    "disgusted": "disgusted",
    "fearful": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
}
"""The label of each recording in samples/real/."""


def check_samples() -> None:
    """Checks that the recordings are there which the card shows.

    Raises:
        FileNotFoundError: One is missing.
    """
    for name in SPOKEN:
        (SAMPLES / f"{name}.flac").stat()


def write(
    folder: Path, recordings: Sequence[Recording], scores: torch.Tensor, held_out: str
) -> None:
    """Writes README.md.

    Args:
        folder: The checkpoint's, complete but for this file.
        recordings: All.
        scores: float32 [n, 9], each by a model that never heard the speaker.
        held_out: The speaker whom the weights in the folder never heard.
    """
    spoken = np.array([recording.label for recording in recordings])
    speakers = np.array([recording.speaker for recording in recordings])
    answered = np.array(LABELS)[scores.argmax(dim=1).numpy()]
    known = [label for label in LABELS if label in spoken]
    uar = recall_score(spoken, answered, labels=known, average="macro")
    accuracy = accuracy_score(spoken, answered)
    recalls = recall_score(spoken, answered, labels=known, average=None)
    counted = confusion_matrix(spoken, answered, labels=known)
    confusion = _table(
        ["", *known, "recall"],
        [
            [f"**{label}**", *map(str, row), f"{recall:.2f}"]
            for label, row, recall in zip(known, counted, recalls, strict=True)
        ],
    )
    names = sorted(set(speakers))
    parts = {s: accuracy_score(spoken[speakers == s], answered[speakers == s]) for s in names}
    most_common, largest = Counter(spoken.tolist()).most_common(1)[0]
    front = {
        "license": "cc0-1.0",
        "language": ["de"],
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "emotion2vec"],
        "model-index": [{"name": "demonstration", "results": [_result(uar, accuracy)]}],
    }
    checkpoint = load_folder(folder)
    text = TEXT.read_text(encoding="utf-8").format(
        millions=sum(tensor.numel() for tensor in checkpoint.state.values()) / 1e6,
        count=len(recordings),
        speakers=len(names),
        held_out=held_out,
        uar=uar,
        accuracy=accuracy,
        chance=1 / len(known),
        most_common=most_common,
        largest=largest / len(spoken),
        reserved=" and ".join(RESERVED),
        held_out_accuracy=parts[held_out],
        by_speaker=_table(
            ["speaker left out", *names],
            [["accuracy", *(f"{part:.2f}" for part in parts.values())]],
        ),
        confusion=confusion,
        samples=_table(
            ["samples/real/", "spoken", "answered", "confidence"],
            _answers(Reference(checkpoint, checkpoint.build())),
        ),
    )
    head = yaml.safe_dump(front, sort_keys=False)
    (folder / "README.md").write_text(f"---\n{head}---\n\n{text}", encoding="utf-8")


def _answers(reference: Reference) -> list[list[str]]:
    rows = []
    for name, spoken in SPOKEN.items():
        waveform, _ = soundfile.read(SAMPLES / f"{name}.flac", dtype="float32")
        scores = reference.run(waveform).scores
        answered = LABELS[scores.argmax()]
        rows.append([f"`{name}.flac`", spoken, answered, f"{100 * scores.max():.1f} %"])
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _result(uar: float, accuracy: float) -> dict[str, object]:
    return {
        "task": {"type": "audio-classification", "name": "Speech emotion recognition"},
        "dataset": {"type": "emodb", "name": "Emo-DB, first 2 s, leave one speaker out"},
        "metrics": [
            {"type": "uar", "name": "Unweighted average recall", "value": round(float(uar), 4)},
            {"type": "accuracy", "name": "Accuracy", "value": round(float(accuracy), 4)},
        ],
    }
