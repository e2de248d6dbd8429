"""Packs clips into a batch for the encoder, as Triton's batching does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio.layout import SLOT, frame_count, lay_out, slot_count
from export.contract import FRAMES, LONGEST, NUM_SAMPLES, WAVEFORM


@dataclass(frozen=True)
class Batch:
    """The encoder's inputs for several clips.

    Attributes:
        waveform: float32 [sum of the lengths of the clips as laid out].
        num_samples: int32 [clips, 1].
        frames: int32 [sum of frame counts].
        longest: float32 [longest length of a clip as laid out]; only its shape matters.
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


def input_shapes(clips: int, samples: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the encoder's inputs for ``clips`` clips of ``samples`` samples each."""
    laid_out = slot_count(samples) * SLOT
    return {
        WAVEFORM.name: (clips * laid_out,),
        NUM_SAMPLES.name: (clips, 1),
        FRAMES.name: (clips * frame_count(samples),),
        LONGEST: (laid_out,),
    }


def pack(clips: Sequence[np.ndarray]) -> Batch:
    """Lays clips end to end, each as `preprocess` lays it out.

    Args:
        clips: float32 [n] each, 16 kHz, at least 400 samples.
    """
    waveforms, frames = zip(*(lay_out(clip) for clip in clips), strict=True)
    return Batch(
        waveform=np.concatenate(waveforms),
        num_samples=np.array([[len(clip)] for clip in clips], np.int32),
        frames=np.concatenate(frames),
        longest=np.zeros(max(len(waveform) for waveform in waveforms), np.float32),
    )
