"""Synthetic sounds to pretrain on: the recordings are too few to learn the frontend from.

Nobody spoke them, so nothing about a left-out speaker can leak through them.
"""

from __future__ import annotations

import numpy as np

from audio.layout import SAMPLE_RATE

TAIL = 1024
"""Samples behind a sound in which a filter may ring out."""


def synthetic_sounds(count: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Sounds somewhat like speech: pulses and noise, through filters that move.

    Returns:
        float32 [count, samples] at 16 kHz, of mean 0 and variance 1.
    """
    return np.stack([_sound(int(seconds * SAMPLE_RATE), rng) for _ in range(count)])


def _sound(length: int, rng: np.random.Generator) -> np.ndarray:
    def wander(scale: float, per_second: float = 6) -> np.ndarray:
        knots = int(length / SAMPLE_RATE * per_second) + 4
        at = np.linspace(0, knots - 1, length)
        return np.interp(at, np.arange(knots), rng.normal(0, scale, knots))

    pitch = np.exp(rng.uniform(np.log(65), np.log(420)) + wander(rng.uniform(0.02, 0.3)))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    pulses = np.exp(np.exp(rng.uniform(0.7, 4)) * (np.cos(phase) - 1))
    voiced = 1 / (1 + np.exp(-(wander(3) + rng.uniform(-1, 3))))
    noise = rng.standard_normal(length) * rng.uniform(0.1, 1)
    source = voiced * _normal(pulses) + (1 - voiced) * noise
    # Each filter is heard in turn, as the sounds of a word are.
    filters = rng.integers(2, 5)
    turns = np.exp(np.stack([wander(2.5) for _ in range(filters)]))
    turns /= turns.sum(axis=0)
    padded = length + TAIL
    spectrum, hertz = np.fft.rfft(source, padded), np.fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    sound = sum(
        turn * _normal(np.fft.irfft(spectrum * 10 ** (_response(hertz, rng) / 20))[:length])
        for turn in turns
    )
    loudness = np.exp(wander(rng.uniform(0.2, 1.5), 8))
    if rng.random() < 0.5:
        loudness = loudness * (wander(1, 5) > -0.8)
    background = rng.standard_normal(length) * 10 ** (-rng.uniform(15, 60) / 20)
    return _normal(_normal(sound * loudness) + background).astype(np.float32)


def _response(hertz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A filter in decibels: a slope, and a few formants."""
    gain = rng.uniform(-6, 1) * np.log2(np.maximum(hertz, 100) / 100)
    for _ in range(rng.integers(2, 6)):
        centre = np.exp(rng.uniform(np.log(200), np.log(7500)))
        width = centre * rng.uniform(0.05, 0.4)
        gain = gain + rng.uniform(-6, 22) * np.exp(-0.5 * ((hertz - centre) / width) ** 2)
    return gain


def _normal(samples: np.ndarray) -> np.ndarray:
    return (samples - samples.mean()) / (samples.std() + 1e-5)
