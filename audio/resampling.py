"""Mixes channels and resamples to the encoder's rate, block by block, for files and streams."""

from __future__ import annotations

import numpy as np
import soxr

from audio.layout import SAMPLE_RATE
from audio.limits import AudioError

NO_SAMPLES = np.zeros(0, np.float32)


def mix(channels: list[np.ndarray]) -> np.ndarray:
    """The mean of channels, float32 [n] each; it takes the place of the first one."""
    mono = channels[0]
    # Absurd samples overflow here; `Resampler` refuses the result.
    with np.errstate(over="ignore", invalid="ignore"):
        for channel in channels[1:]:
            mono += channel
        mono /= len(channels)
    return mono


class Resampler:
    """Resamples one channel to 16 kHz; the result does not depend on how the input is cut.

    Args:
        rate: Samples per second of the input.
    """

    def __init__(self, rate: int) -> None:
        self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Takes the next samples, float32 [n]; returns those that are ready, float32 [m].

        Raises:
            AudioError: A sample is not a number, or infinite.
        """
        return self._checked(self._stream.resample_chunk(samples))

    def finish(self) -> np.ndarray:
        """Returns the last samples, float32 [m]; errors as for `push`."""
        return self._checked(self._stream.resample_chunk(NO_SAMPLES, last=True))

    @staticmethod
    def _checked(samples: np.ndarray) -> np.ndarray:
        if not np.isfinite(samples).all():
            raise AudioError(
                "damaged",
                "the file holds samples that are not numbers (NaN or infinite): write it again",
            )
        return samples
