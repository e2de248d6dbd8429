"""A clip as the encoder reads it: normalised, in whole slots, behind empty ones."""

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 16_000
"""Samples per second of the waveform that the encoder reads."""

SLOT = 320
"""Samples per slot: the hop of the convolutional frontend (20 ms at 16 kHz)."""

WINDOW = 400
"""Samples that one frame sees (25 ms)."""

EXTRA_SLOTS = 10
"""Empty slots in front of each clip, where its learned extra tokens stand inside the encoder."""

NORMALIZE_EPS = 1e-5
"""Added to the variance when a clip is normalised (``torch.nn.functional.layer_norm``)."""


def frame_count(samples: int) -> int:
    """Frames of a clip of ``samples`` samples at 16 kHz."""
    return (samples - WINDOW) // SLOT + 1


def slot_count(samples: int) -> int:
    """Slots that such a clip takes, the empty ones included."""
    return EXTRA_SLOTS + -(-samples // SLOT)


def lay_out(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalises a clip and lays it out in whole 320-sample slots.

    Ten empty slots stand in front, where the encoder puts the clip's extra tokens; zeros fill up
    the last slot. Clips laid out like this batch by plain concatenation.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        The waveform, float32 [(10 + ceil(n / 320)) * 320], and the numbers of the clip's frames,
        int32 [(n - 400) // 320 + 1].
    """
    exact = samples.astype(np.float64)
    centred = exact - exact.mean()
    # As torch.nn.functional.layer_norm over the whole clip, which is what FunASR calls.
    normalised = centred / np.sqrt(np.square(centred).mean() + NORMALIZE_EPS)
    waveform = np.zeros(slot_count(len(samples)) * SLOT, np.float32)
    start = EXTRA_SLOTS * SLOT
    waveform[start : start + len(samples)] = normalised
    return waveform, np.arange(frame_count(len(samples)), dtype=np.int32)
