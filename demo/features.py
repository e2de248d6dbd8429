"""Features of each frame: what the frontend learns to compute, and what it then computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from audio.layout import SAMPLE_RATE, SLOT, WINDOW
from demo import model as small
from export.emotion2vec import Emotion2vec

BANDS = 40
LAGS = SAMPLE_RATE / torch.tensor(np.geomspace(80, 420, 24), dtype=torch.float32)
"""Periods of 80 to 420 Hz, in samples: where a voice has its pitch."""

FEATURES = BANDS + len(LAGS)
FFT = 1024
HANN = torch.hann_window(WINDOW, periodic=False)
LONGEST_LAG = WINDOW // 2 + 10


def frame_features(waveforms: torch.Tensor) -> torch.Tensor:
    """Features of each frame, 25 ms every 20 ms, as the frontend sees it.

    Args:
        waveforms: float32 [n, samples], of mean 0 and variance 1.

    Returns:
        float32 [n, T, 64]: 40 log-mel bands, and the autocorrelation at 24 lags.
    """
    frames = waveforms.unfold(1, WINDOW, SLOT) * HANN
    power = torch.fft.rfft(frames, FFT).abs() ** 2
    mel = torch.log(power @ FILTERS + 1e-2)
    correlation = torch.fft.irfft(power)[..., :LONGEST_LAG]
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
_WINDOWS = torch.fft.irfft(torch.fft.rfft(HANN, FFT).abs() ** 2)[:LONGEST_LAG]
OF_HANN = _WINDOWS / _WINDOWS[0]
"""The window's own autocorrelation, which falls with the lag."""


@dataclass(frozen=True)
class Features:
    """Clips as the encoder gets them, and the features of their frames.

    Attributes:
        frontend: float16 [n, T, 192], from `demo.model.frontend_output`.
        frames: float16 [n, T, 64], from `frame_features`.
    """

    frontend: torch.Tensor
    frames: torch.Tensor

    def of(self, chosen: torch.Tensor) -> Features:
        """Some of the clips; ``chosen`` is int64 or bool [n]."""
        return Features(self.frontend[chosen], self.frames[chosen])


def extract(model: Emotion2vec, waveforms: np.ndarray) -> Features:
    """Features of waveforms, float32 [n, samples] at 16 kHz, with a trained frontend."""
    tensor = torch.from_numpy(waveforms)
    frames = [frame_features(small.normal(part)).half() for part in torch.split(tensor, 64)]
    return Features(small.frontend_output(model, tensor), torch.cat(frames))


def joined(parts: Sequence[Features]) -> Features:
    """All clips of several."""
    return Features(
        torch.cat([part.frontend for part in parts]), torch.cat([part.frames for part in parts])
    )
