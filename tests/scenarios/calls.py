"""Calls between two voices in which it is known who speaks when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

from audio.layout import SAMPLE_RATE
from emotion2vec_client._result import FloatArray
from tests.scenarios.conversation import Borders, speech_edges


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        channels: float32 [2, n] at 16 kHz, a voice each.
        turns: For each voice, the start and end of its utterances in seconds, float64 [k, 2].
    """

    channels: FloatArray
    turns: tuple[Borders, Borders]

    @property
    def mixed(self) -> FloatArray:
        """Both voices on one channel, float32 [n]."""
        mean: FloatArray = self.channels.mean(axis=0)
        return mean


def call(
    voices: tuple[Sequence[FloatArray], Sequence[FloatArray]],
    seconds: float,
    gaps: tuple[float, float],
    seed: int = 0,
) -> Call:
    """Lets two voices take turns; each turn is one to three utterances.

    Args:
        voices: Utterances of each voice, float32 [n] at 16 kHz.
        seconds: Length of the call.
        gaps: Shortest and longest time between two turns, in seconds; below 0 both speak at once.
        seed: Seed for the order, the gaps and the loudness.
    """
    random = np.random.default_rng(seed)
    total = round(seconds * SAMPLE_RATE)
    channels = np.zeros((2, total), np.float32)
    turns: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    speaker, position = int(random.integers(2)), SAMPLE_RATE // 2
    levels = random.uniform(0.3, 0.8, 2)
    while True:
        for _ in range(random.integers(1, 4)):
            speech = voices[speaker][random.integers(len(voices[speaker]))]
            edges = speech_edges(speech)
            speech = speech[edges[0] : edges[-1]] / np.abs(speech).max() * levels[speaker]
            end = position + len(speech)
            if end > total:
                noise = random.standard_normal(channels.shape) * 0.0005
                both = tuple(np.array(each, float).reshape(-1, 2) / SAMPLE_RATE for each in turns)
                return Call((channels + noise).astype(np.float32), (both[0], both[1]))
            channels[speaker, position:end] += speech
            turns[speaker].append((position, end))
            position = end + round(random.uniform(0.1, 0.4) * SAMPLE_RATE)
        position = max(end + round(random.uniform(*gaps) * SAMPLE_RATE), 0)
        speaker = 1 - speaker


def write_voice_model(path: Path) -> None:
    """A tiny model that tells voices as different as espeak-ng's apart: how lively each band is."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        voices (float[n, frames, 80] feats) => (float[n, 80] embs)
        {
          squares = Mul (feats, feats)
          variance = ReduceMean <axes = [1], keepdims = 0> (squares)
          deviation = Sqrt (variance)
          mean = ReduceMean <axes = [1], keepdims = 1> (deviation)
          lively = Sub (deviation, mean)
          size = Abs (lively)
          root = Sqrt (size)
          sign = Sign (lively)
          embs = Mul (sign, root)
        }
        """
    )
    onnx.save(model, path)


def share_right(
    segments: Iterable[tuple[int, float, float]], turns: tuple[Borders, Borders]
) -> float:
    """Share of the speech time in segments that has the right speaker, 0 to 1.

    Args:
        segments: The number of the speaker, the start and the end of each; which number is which
            voice does not matter.
        turns: When each voice speaks.
    """
    heard = np.zeros((2, 2))
    for speaker, start, end in segments:
        for voice in range(2):
            heard[speaker, voice] += seconds_inside(start, end, turns[voice])
    return float(max(heard.trace(), heard[::-1].trace()) / heard.sum())


def seconds_inside(start: float, end: float, turns: Borders) -> float:
    """Seconds of a segment in which the voice speaks."""
    return float(
        np.clip(np.minimum(turns[:, 1], end) - np.maximum(turns[:, 0], start), 0, None).sum()
    )
