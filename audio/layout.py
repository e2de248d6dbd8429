"""Lays out clips for the encoder: normalised, in whole slots, with empty slots in front."""

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 16_000
"""Samples per second of the waveform that the encoder reads."""

SLOT = 320
"""Samples per slot: the hop of the convolutional frontend (20 ms at 16 kHz)."""

WINDOW = 400
"""Samples that one frame sees (25 ms)."""

EXTRA_SLOTS = 10
"""Empty slots in front of each clip; the encoder puts its learned extra tokens there."""

NORMALIZE_EPS = 1e-5
"""Added to the variance when a clip is normalised (``torch.nn.functional.layer_norm``)."""


def frame_count(samples: int) -> int:
    """Frames of a clip of ``samples`` samples at 16 kHz."""
    return (samples - WINDOW) // SLOT + 1


def slot_count(samples: int) -> int:
    """Slots of a clip of ``samples`` samples, including the empty ones."""
    return EXTRA_SLOTS + -(-samples // SLOT)


def lay_out(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalises a clip and lays it out in whole 320-sample slots.

    Ten empty slots come first: the encoder puts the clip's extra tokens there. Zeros fill up the
    last slot. To batch clips in this layout, concatenate them.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        The waveform, float32 [10 + ceil(n / 320), 320], and the indices of the clip's frames,
        int32 [(n - 400) // 320 + 1].
    """
    exact = samples.astype(np.float64)
    centred = exact - exact.mean()
    # FunASR calls torch.nn.functional.layer_norm over the whole clip; this equals it.
    normalised = centred / np.sqrt(np.square(centred).mean() + NORMALIZE_EPS)
    waveform = np.zeros(slot_count(len(samples)) * SLOT, np.float32)
    start = EXTRA_SLOTS * SLOT
    waveform[start : start + len(samples)] = normalised
    return waveform.reshape(-1, SLOT), np.arange(frame_count(len(samples)), dtype=np.int32)
