"""Makes a recording sound as if another voice had spoken it elsewhere."""

from __future__ import annotations

import numpy as np

from audio.layout import SAMPLE_RATE


def augmented(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A version with another speed and pitch, colour, beginning and background.

    Args:
        waveform: float32 [n] at 16 kHz.
        rng: Draws the changes.

    Returns:
        float32 [n].
    """
    length = len(waveform)
    speed = np.exp(rng.uniform(-0.16, 0.16)) if rng.random() < 0.85 else 1.0
    at = np.linspace(0, length - 1, int(length / speed))
    samples = np.interp(at, np.arange(length), waveform)
    if rng.random() < 0.8:
        samples = _coloured(samples, rng)
    # A faster version goes on from its start, because silence at the end would give it away.
    begin = rng.integers(0, max(len(samples) - length, 0) + 1)
    samples = np.pad(samples, (0, max(length - len(samples), 0)), mode="wrap")[begin:][:length]
    loud = samples.std() + 1e-6
    if rng.random() < 0.6:
        noise = rng.standard_normal(length) * loud * 10 ** (-rng.uniform(10, 45) / 20)
        samples = samples + noise
    if rng.random() < 0.15:
        samples = np.clip(samples, -3 * loud, 3 * loud)
    return samples.astype(np.float32)


def _coloured(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through a random, smooth filter, as of another microphone and room."""
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 80)
    knots = rng.integers(4, 9)
    at = np.linspace(np.log(80), np.log(8000), knots)
    gain = np.interp(np.log(hertz), at, rng.normal(0, 4, knots))
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (gain / 20), len(samples))
