"""Synthetic sounds, and what the frontend learns to hear in them.

The frontend starts from noise, and a few hundred recordings are too few to learn hearing from. So
it first learns to predict a log-mel spectrum and an autocorrelation, from sounds that nobody spoke:
no left-out speaker can leak through it.
"""

from __future__ import annotations

import numpy as np
import torch

from audio.layout import SAMPLE_RATE, SLOT, WINDOW

BANDS = 40
LAGS = SAMPLE_RATE / torch.tensor(np.geomspace(80, 420, 24), dtype=torch.float32)
"""Periods of 80 to 420 Hz, in samples: where a voice has its pitch."""

TARGETS = BANDS + len(LAGS)
FFT = 1024
HANN = torch.hann_window(WINDOW, periodic=False)


def sounds(count: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
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
    padded = length + FFT
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


def heard(waveforms: torch.Tensor) -> torch.Tensor:
    """What a frame of each sound holds, as the frontend sees it: 25 ms every 20 ms.

    Args:
        waveforms: float32 [n, samples], of mean 0 and variance 1.

    Returns:
        float32 [n, T, 64]: 40 log-mel bands, and the autocorrelation at 24 lags.
    """
    frames = waveforms.unfold(1, WINDOW, SLOT) * HANN
    power = torch.fft.rfft(frames, FFT).abs() ** 2
    mel = torch.log(power @ FILTERS + 1e-2)
    correlation = torch.fft.irfft(power)[..., : WINDOW // 2 + 10]
    correlation = correlation / (correlation[..., :1] + 1e-2) / OF_HANN
    below = LAGS.floor().long()
    between = LAGS - below
    at_lags = correlation[..., below] * (1 - between) + correlation[..., below + 1] * between
    return torch.cat([mel / 3, at_lags], dim=-1)


def _mel_filters() -> torch.Tensor:
    """Triangles between 60 and 7600 Hz, evenly spaced in mel: float32 [513, 40]."""
    mel = 2595 * np.log10(1 + np.array([60, 7600]) / 700)
    edges = 700 * (10 ** (np.linspace(mel[0], mel[1], BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)[:, np.newaxis]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (hertz - low) / (centre - low), (high - hertz) / (high - centre)
    return torch.tensor(np.maximum(0, np.minimum(rising, falling)), dtype=torch.float32)


FILTERS = _mel_filters()
_WINDOWS = torch.fft.irfft(torch.fft.rfft(HANN, FFT).abs() ** 2)[: WINDOW // 2 + 10]
OF_HANN = _WINDOWS / _WINDOWS[0]
"""The window's own autocorrelation, which falls with the lag."""
