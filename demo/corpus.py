"""Reads Emo-DB, the Berlin Database of Emotional Speech.

Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss: "A Database of German Emotional Speech",
Interspeech 2005. Its authors' publication (audeering/emodb) states CC0-1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from audio.layout import SAMPLE_RATE

SECONDS = 2.0
"""Recordings are cut to their first seconds, so that all are equally long."""

EMOTIONS = {
    "W": "angry",
    "E": "disgusted",
    "A": "fearful",
    "F": "happy",
    "N": "neutral",
    # Boredom: none of emotion2vec's labels names it.
    "L": "other",
    "T": "sad",
}
"""The label of each letter in a file's name, which stands for a German word."""


RESERVED = ("15", "16")
"""Speakers who are never used here: the method was developed on the others, so only these can tell
how good the model really is."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One sentence by an actor.

    Attributes:
        name: The file's name without its extension: speaker (2), text (3), emotion, version.
        waveform: float32 [32000] at 16 kHz.
    """

    name: str
    waveform: np.ndarray

    @property
    def speaker(self) -> str:
        """Two digits."""
        return self.name[:2]

    @property
    def label(self) -> str:
        """One of emotion2vec's labels."""
        return EMOTIONS[self.name[5]]


def read(folder: Path) -> list[Recording]:
    """Reads the FLAC and WAV files of a folder, sorted by name, without the reserved speakers.

    Raises:
        ValueError: There is none, a name is not one of Emo-DB's, or a file is damaged.
        OSError: The folder cannot be read.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".flac", ".wav"):
            continue
        name = path.stem
        if len(name) not in (6, 7) or name[5] not in EMOTIONS:
            raise ValueError(f"{path} is not named as in Emo-DB, such as 03a01Fa.wav")
        if name[:2] not in RESERVED:
            found.append(Recording(name, _waveform(path)))
    if not found:
        raise ValueError(
            f"{folder} has no recording to train on: give the folder of Emo-DB's recordings, as "
            f"WAV or FLAC; speakers {' and '.join(RESERVED)} are left out"
        )
    return found


def _waveform(path: Path) -> np.ndarray:
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    samples = channels.mean(axis=1)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    length = int(SECONDS * SAMPLE_RATE)
    return np.pad(samples[:length], (0, max(0, length - len(samples))), mode="wrap")
