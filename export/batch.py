"""Packs clips into a batch for the encoder, as Triton's batching does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio.layout import SLOT, frame_count, lay_out, slot_count
from export.contract import FRAMES, LONGEST, SHAPES, WAVEFORM


@dataclass(frozen=True)
class Batch:
    """The encoder's inputs for several clips.

    Attributes:
        waveform: float32 [sum of the lengths of the clips as laid out].
        frames: int32 [sum of frame counts].
        longest: float32 [longest length of a clip as laid out]; only its shape matters.
        waveform_shape: int32 [clips, 2], the shape of each clip as laid out.
        frames_shape: int32 [clips, 1], the number of frames of each clip.
    """

    waveform: np.ndarray
    frames: np.ndarray
    longest: np.ndarray
    waveform_shape: np.ndarray
    frames_shape: np.ndarray

    def inputs(self) -> dict[str, np.ndarray]:
        """The tensors under the graph's input names, in the graph's order."""
        return {
            WAVEFORM.name: self.waveform,
            FRAMES.name: self.frames,
            LONGEST: self.longest,
            **{name: getattr(self, name) for name in SHAPES},
        }


def input_shapes(clips: int, samples: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the encoder's inputs for ``clips`` clips of ``samples`` samples each."""
    laid_out = slot_count(samples) * SLOT
    return {
        WAVEFORM.name: (clips * laid_out,),
        FRAMES.name: (clips * frame_count(samples),),
        LONGEST: (laid_out,),
        **{name: (clips, len(tensor.dims)) for name, tensor in SHAPES.items()},
    }


def pack(clips: Sequence[np.ndarray]) -> Batch:
    """Lays clips end to end, each as `preprocess` lays it out.

    Args:
        clips: float32 [n] each, 16 kHz, at least 400 samples.
    """
    return join([lay_out(clip) for clip in clips])


def join(laid_out: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Joins waveforms and frames, as `audio.layout.lay_out` returns them."""
    waveforms, frames = zip(*laid_out, strict=True)
    return Batch(
        waveform=np.concatenate(waveforms).ravel(),
        frames=np.concatenate(frames),
        longest=np.zeros(max(waveform.size for waveform in waveforms), np.float32),
        waveform_shape=np.array([waveform.shape for waveform in waveforms], np.int32),
        frames_shape=np.array([indices.shape for indices in frames], np.int32),
    )
