"""Clips to the encoder's input, as model_repository/preprocess and Triton's batching build it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.contract import (
    EXTRA_SLOTS,
    FRAMES,
    LONGEST,
    NORMALIZE_EPS,
    NUM_SAMPLES,
    SLOT,
    WAVEFORM,
    WINDOW,
)


@dataclass(frozen=True)
class Batch:
    """The encoder's inputs for several clips.

    Attributes:
        waveform: float32 [sum of padded lengths].
        num_samples: int32 [clips, 1].
        frames: int32 [sum of frame counts].
        longest: float32 [longest padded length], only its shape counts.
    """

    waveform: np.ndarray
    num_samples: np.ndarray
    frames: np.ndarray
    longest: np.ndarray

    def inputs(self) -> dict[str, np.ndarray]:
        """The tensors under the graph's input names, in the graph's order."""
        return {
            WAVEFORM.name: self.waveform,
            NUM_SAMPLES.name: self.num_samples,
            FRAMES.name: self.frames,
            LONGEST: self.longest,
        }


def frame_count(samples: int) -> int:
    """Frames of a clip of ``samples`` samples at 16 kHz."""
    return (samples - WINDOW) // SLOT + 1


def input_shapes(clips: int, samples: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the encoder's inputs for so many clips of so many samples each."""
    padded = ((samples + SLOT - 1) // SLOT + EXTRA_SLOTS) * SLOT
    return {
        WAVEFORM.name: (clips * padded,),
        NUM_SAMPLES.name: (clips, 1),
        FRAMES.name: (clips * frame_count(samples),),
        LONGEST: (padded,),
    }


def pack(clips: Sequence[np.ndarray]) -> Batch:
    """Normalises clips and lays them end to end.

    Args:
        clips: float32 [n] each, 16 kHz, at least 400 samples.
    """
    padded = []
    for clip in clips:
        exact = clip.astype(np.float64)
        normalised = (exact - exact.mean()) / np.sqrt(exact.var() + NORMALIZE_EPS)
        tail = -len(clip) % SLOT
        padded.append(np.pad(normalised, (EXTRA_SLOTS * SLOT, tail)).astype(np.float32))
    return Batch(
        waveform=np.concatenate(padded),
        num_samples=np.array([[len(clip)] for clip in clips], np.int32),
        frames=np.concatenate([np.arange(frame_count(len(c)), dtype=np.int32) for c in clips]),
        longest=np.zeros(max(len(waveform) for waveform in padded), np.float32),
    )
