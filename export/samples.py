"""The clips on which a graph is compared with FunASR: recordings, and noise of every length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from audio.layout import SAMPLE_RATE, WINDOW
from export.errors import ExportError
from export.progress import say

SUFFIXES = {".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aiff", ".aif", ".au"}

RANDOM = "random "
"""With this begin the names of clips that are noise."""

MOST_RECORDINGS = 1000
"""FunASR's answers to all of them stay in memory: 2 MB for ten seconds."""

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
"""The project's own recordings."""

LENGTHS = (400, 719, 720, 16_000, 52_345, 160_000, 480_000)
"""Samples of the random clips: the shortest, both sides of a frame boundary, up to 30 s."""

LONGEST = 30 * SAMPLE_RATE
"""Samples of a recording that are compared."""


def test_clips(folder: Path, seed: int) -> dict[str, np.ndarray]:
    """Returns random clips of every length in ``LENGTHS``, and the recordings of a folder.

    Args:
        folder: See `recordings`.
        seed: For the random clips; printed with the table, so that a run can be repeated.

    Returns:
        float32 [n] each, 16 kHz.
    """
    random = np.random.default_rng(seed)
    clips = {
        f"{RANDOM}{length}": random.standard_normal(length).astype(np.float32) for length in LENGTHS
    }
    return clips | recordings(folder)


def recordings(folder: Path, most: int = MOST_RECORDINGS) -> dict[str, np.ndarray]:
    """Reads the recordings of a folder and of the folders in it.

    Args:
        folder: Files that libsndfile cannot read are skipped, and said.
        most: Of more files, only so many are read, evenly chosen.

    Returns:
        float32 [n] each, 16 kHz, at most 30 s, by name.

    Raises:
        ExportError: None can be used.
    """
    found = [
        path
        for path in sorted(folder.rglob("*"))
        # macOS leaves files such as ._happy.wav on other systems' disks.
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    paths = found
    if len(paths) > most:
        paths = [paths[len(paths) * number // most] for number in range(most)]
    clips, skipped = {}, []
    for path in paths:
        name = str(path.relative_to(folder))
        try:
            recording, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            skipped.append(name)
            continue
        clip = soxr.resample(recording.mean(axis=1), rate, SAMPLE_RATE)[:LONGEST]
        if len(clip) >= WINDOW:
            clips[name] = clip
        else:
            skipped.append(name)
    if not clips and folder != SAMPLES:
        raise ExportError(
            f"{folder} has no recording that can be used: give WAV, MP3, FLAC or OGG, from 25 ms"
        )
    if skipped and folder != SAMPLES:
        reason = "libsndfile cannot read them, or they are shorter than 25 ms"
        some = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        say(f"{len(skipped)} recordings of {folder} are left out ({some}): {reason}")
    if len(found) > len(paths):
        say(f"{len(paths)} of {len(found)} recordings in {folder} are used, evenly chosen")
    return clips
