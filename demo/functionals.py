"""Functionals of a whole clip, as openSMILE computes them, and their principal components.

Means, spreads and percentiles of the spectrum and of its changes, of the pitch, and the rhythm:
speech emotion recognition used them before there were encoders. A linear classifier on them is hard
to beat with a few hundred clips, so the encoder learns to compute them, which needs no labels.
"""

from __future__ import annotations

import torch

from audio.layout import SAMPLE_RATE
from demo.features import BANDS, LAGS

SHARES = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
VOICED = 0.5
"""Least autocorrelation of a voiced frame."""

PITCHES = torch.log2(SAMPLE_RATE / LAGS)
RHYTHM_FRAMES, RHYTHM_RATES = 64, 12


def functionals(frames: torch.Tensor) -> torch.Tensor:
    """Computes the functionals of clips.

    Args:
        frames: float32 [n, T, 64], from `demo.features.frame_features`; T is at least 64.

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
    share = voiced.float().mean(dim=1)
    # Percentiles need some frames: without three voiced ones, all count.
    voiced[voiced.sum(dim=1) < 3] = True
    pitch = PITCHES[best]
    pitch = torch.where(voiced, pitch, torch.full_like(pitch, torch.nan))
    percentiles = torch.nanquantile(pitch, SHARES, dim=1)
    mean = pitch.nanmean(dim=1)
    spread = ((pitch - mean[:, None]) ** 2).nanmean(dim=1).sqrt()
    movement = pitch.diff(dim=1).abs().nanmean(dim=1).nan_to_num()
    return torch.stack([*percentiles, mean, spread, movement, share], dim=1)


class PrincipalComponents:
    """Turns functionals into uncorrelated ones; the strongest come first.

    Each is divided by the root of its standard deviation, so that strong ones keep more weight.

    Args:
        measured: Functionals of m clips, float32 [m, 513].
        count: How many components to keep, at most m.
    """

    def __init__(self, measured: torch.Tensor, count: int) -> None:
        self._mean, self._deviation = measured.mean(dim=0), measured.std(dim=0) + 1e-6
        _, strength, directions = torch.linalg.svd(self._standard(measured), full_matrices=False)
        scaled = directions.T / (strength / len(measured) ** 0.5).sqrt()
        self._directions = scaled[:, :count]

    def _standard(self, measured: torch.Tensor) -> torch.Tensor:
        return (measured - self._mean) / self._deviation

    def __call__(self, measured: torch.Tensor) -> torch.Tensor:
        """float32 [n, 513] → float32 [n, count]."""
        return self._standard(measured) @ self._directions
