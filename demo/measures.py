"""Measures of a whole clip, which speech emotion recognition used before there were encoders.

Means, spreads and percentiles of the spectrum and of its changes, of the pitch, and the rhythm:
what openSMILE calls functionals. A linear classifier on them is hard to beat with a few hundred
clips, so the encoder learns to compute them, from any sound and without labels.
"""

from __future__ import annotations

import torch

from audio.layout import SAMPLE_RATE
from demo.sounds import BANDS, LAGS

SHARES = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
VOICED = 0.5
"""Least autocorrelation of a voiced frame."""

PITCHES = torch.log2(SAMPLE_RATE / LAGS)
RHYTHM_FRAMES, RHYTHM_RATES = 64, 12


def measures(frames: torch.Tensor) -> torch.Tensor:
    """Measures clips.

    Args:
        frames: float32 [n, T, 64], from `demo.sounds.heard`; T is at least 64.

    Returns:
        float32 [n, 513].
    """
    mel, correlation = frames[..., :BANDS], frames[..., BANDS:]
    change = mel.diff(dim=1)
    parts = [*_spread(mel), change.std(dim=1), change.abs().mean(dim=1)]
    parts += [correlation.mean(dim=1), correlation.std(dim=1), _pitch(correlation)]
    # How fast eight broad bands rise and fall, from once in a clip to ten times a second.
    level = mel - mel.mean(dim=1, keepdim=True)
    rhythm = torch.fft.rfft(level[:, :RHYTHM_FRAMES], dim=1).abs()[:, 1 : RHYTHM_RATES + 1]
    parts.append(torch.log(rhythm.unflatten(2, (8, -1)).mean(dim=3) + 1e-2).flatten(1))
    return torch.cat(parts, dim=1)


def _spread(values: torch.Tensor) -> list[torch.Tensor]:
    percentiles = torch.quantile(values, SHARES, dim=1)
    return [values.mean(dim=1), values.std(dim=1), *percentiles]


def _pitch(correlation: torch.Tensor) -> torch.Tensor:
    """Percentiles, mean, spread and movement of the voiced frames' pitch, and their share."""
    strength, best = correlation.max(dim=2)
    voiced = strength > VOICED
    # A clip without voice counts as one at 128 Hz throughout.
    voiced[voiced.sum(dim=1) < 3] = True
    pitch = PITCHES[best]
    silent = torch.full_like(pitch, torch.nan)
    pitch = torch.where(voiced, pitch, silent)
    percentiles = torch.nanquantile(pitch, SHARES, dim=1)
    mean = pitch.nanmean(dim=1)
    spread = ((pitch - mean[:, None]) ** 2).nanmean(dim=1).sqrt()
    movement = pitch.diff(dim=1).abs().nanmean(dim=1).nan_to_num()
    return torch.stack([*percentiles, mean, spread, movement, voiced.float().mean(dim=1)], dim=1)
