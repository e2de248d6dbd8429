"""A long recording in which the position of all speech is known: the project's samples, separated
by silence, noise and music.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emotion2vec_client._result import FloatArray

SAMPLE_RATE = 16_000
FRAME = 160
"""Samples (10 ms) for which loudness is measured."""

QUIET = 0.02
"""Share of the loudest frame's level (-34 dB); quieter frames are not speech."""

GAPS = (1.5, 6.0)
"""Shortest and longest gap between utterances, in seconds."""

Borders = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Conversation:
    """A recording and where its speech is, in seconds.

    Attributes:
        samples: float32 [n] at 16 kHz.
        utterances: float64 [k, 2], the start and end of each utterance.
        pauses: float64 [p], the times at which speech stops and starts again within utterances.
    """

    samples: FloatArray
    utterances: Borders
    pauses: Borders

    def found(self, segments: Borders, within: float) -> float:
        """Share of the utterances' borders that are close to a segment's border, 0 to 1."""
        return _near(self.utterances.ravel(), segments.ravel(), within)

    def right(self, segments: Borders, within: float) -> float:
        """Share of the segments' borders at which speech really starts or stops, 0 to 1."""
        truth = np.concatenate([self.utterances.ravel(), self.pauses])
        return _near(segments.ravel(), truth, within)


def build(utterances: Sequence[FloatArray], seconds: float, seed: int = 0) -> Conversation:
    """Puts utterances one after the other, in random order, until the recording is full.

    Args:
        utterances: float32 [n] at 16 kHz each.
        seconds: Length of the recording.
        seed: Seed for the order and the gaps.
    """
    random = np.random.default_rng(seed)
    # Speech gets background noise, as in a real room. Gaps may be completely silent.
    parts = [gap(random)]
    borders: list[tuple[int, int]] = []
    pauses: list[int] = []
    total = len(parts[0])
    while True:
        speech = utterances[random.integers(len(utterances))]
        speech = speech / np.abs(speech).max() * random.uniform(0.2, 0.8)
        after = gap(random)
        if total + len(speech) + len(after) > seconds * SAMPLE_RATE:
            break
        edges = total + speech_edges(speech)
        borders.append((int(edges[0]), int(edges[-1])))
        pauses += edges[1:-1].tolist()
        parts += [speech + noise(len(speech), 0.0005, random), after]
        total += len(speech) + len(after)
    parts.append(np.zeros(round(seconds * SAMPLE_RATE) - total, np.float32))
    samples = np.concatenate(parts).astype(np.float32)
    return Conversation(
        samples, np.array(borders) / SAMPLE_RATE, np.array(pauses, float) / SAMPLE_RATE
    )


def speech_edges(speech: FloatArray) -> npt.NDArray[np.int64]:
    """Start and end of clean speech, and of every pause over 100 ms in it, in samples [2 m]."""
    frames = speech[: len(speech) // FRAME * FRAME].reshape(-1, FRAME)
    loudness = np.sqrt(np.square(frames).mean(axis=1))
    loud = np.flatnonzero(loudness > QUIET * loudness.max())
    stops = np.flatnonzero(np.diff(loud) > 10)
    inner = [edge for stop in stops for edge in (loud[stop] + 1, loud[stop + 1])]
    return np.array([loud[0], *inner, loud[-1] + 1]) * FRAME


def gap(random: np.random.Generator) -> FloatArray:
    """A gap between two utterances: silence, noise or music."""
    samples = round(random.uniform(*GAPS) * SAMPLE_RATE)
    kind = random.integers(4)
    if kind == 0:
        return np.zeros(samples, np.float32)
    if kind == 1:
        return noise(samples, 0.0005, random)
    return noise(samples, 0.02, random) if kind == 2 else music(samples, random)


def noise(samples: int, level: float, random: np.random.Generator) -> FloatArray:
    """Noise whose loudness rises and falls, like traffic."""
    sway = 1 + 0.5 * np.sin(np.arange(samples) / SAMPLE_RATE * random.uniform(1, 4))
    return (level * sway * random.standard_normal(samples)).astype(np.float32)


def music(samples: int, random: np.random.Generator) -> FloatArray:
    """Plucked chords with overtones, four per second."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    out = np.zeros(samples + SAMPLE_RATE, np.float32)
    for start in range(0, samples, SAMPLE_RATE // 4):
        root = 110 * 2 ** (random.integers(24) / 12)
        for interval in (1, 1.25, 1.5):
            for overtone in (1, 2, 3, 4):
                tone = np.sin(2 * np.pi * root * interval * overtone * time)
                note = 0.06 / overtone * tone * np.exp(-4 * time)
                out[start : start + SAMPLE_RATE] += note.astype(np.float32)
    return out[:samples]


def _near(borders: Borders, others: Borders, within: float) -> float:
    if not len(borders) or not len(others):
        return 0.0
    distances = np.abs(borders[:, np.newaxis] - others).min(axis=1)
    return float((distances <= within).mean())
