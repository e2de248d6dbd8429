"""Turns the frames that FFmpeg decodes into samples at the encoder's rate."""

from __future__ import annotations

import av
import numpy as np

from audio.limits import AudioError, Limits
from audio.resampling import Resampler, mix

SAMPLE_FORMATS = {
    "u8": (np.uint8, 2.0**7),
    "s16": (np.int16, 2.0**15),
    "s32": (np.int32, 2.0**31),
    "s64": (np.int64, 2.0**63),
    "flt": (np.float32, 1.0),
    "dbl": (np.float64, 1.0),
}
"""FFmpeg's sample formats, each with its type and the value that means 1.0."""

BLOCK_SAMPLES = 2**16


class Frames:
    """Checks, mixes down and resamples decoded frames as they arrive.

    Args:
        limits: The limits of a request.
        separate: Whether to keep the channels apart, instead of mixing them.

    Attributes:
        rate: Samples per second in the file; 0 before the first frame.
    """

    def __init__(self, limits: Limits, separate: bool) -> None:
        self.rate = 0
        self._limits = limits
        self._separate = separate
        self._count = 0
        self._channels = 0
        self._resamplers: list[Resampler] = []
        self._waiting: list[list[np.ndarray]] = []
        self._waiting_samples = 0

    def add(self, frame: av.AudioFrame) -> np.ndarray:
        """Adds a frame; returns the samples that are ready, float32 [channels, n] at 16 kHz."""
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not self.rate:
            self._begin(rate, channels)
        if rate != self.rate:
            raise AudioError(
                "unsupported",
                f"the sample rate changes from {self.rate} to {rate} within the file: "
                "send one recording per file",
            )
        ready = []
        if channels != self._channels:
            self._limits.check_channels(channels)
            if self._separate:
                raise AudioError(
                    "unsupported",
                    f"the file changes from {self._channels} to {channels} channels, so they "
                    "cannot be told apart: send one recording per file",
                )
            ready.append(self._resample_waiting())
            self._channels = channels
        self._count += frame.samples
        self._limits.check_longest(self._count / rate)
        # Some codecs have short frames, and each call below has a fixed cost: fill a block first.
        self._waiting.append(_scaled(frame))
        self._waiting_samples += frame.samples * channels
        if self._waiting_samples >= BLOCK_SAMPLES:
            ready.append(self._resample_waiting())
        return np.concatenate(ready, axis=1) if ready else self._nothing()

    def finish(self) -> np.ndarray:
        """Returns the last samples, float32 [channels, n]."""
        if not self._count:
            raise AudioError(
                "damaged", "the file has a header but no samples: send the complete file"
            )
        ready = self._resample_waiting()
        last = np.stack([resampler.finish() for resampler in self._resamplers])
        return np.concatenate([ready, last], axis=1)

    def _begin(self, rate: int, channels: int) -> None:
        self._limits.check_rate(rate)
        self._limits.check_channels(channels)
        if self._separate and channels == 1:
            raise AudioError(
                "bad_request",
                "channels is 'separate', and the file has one channel: leave the option out, or "
                "use speakers=2 to tell two voices apart",
            )
        self.rate, self._channels = rate, channels
        self._resamplers = [Resampler(rate) for _ in range(channels if self._separate else 1)]

    def _resample_waiting(self) -> np.ndarray:
        if not self._waiting:
            return self._nothing()
        channels = [np.concatenate(parts) for parts in zip(*self._waiting, strict=True)]
        self._waiting.clear()
        self._waiting_samples = 0
        if not self._separate:
            channels = [mix(channels)]
        return np.stack(
            [
                resampler.push(each)
                for resampler, each in zip(self._resamplers, channels, strict=True)
            ]
        )

    def _nothing(self) -> np.ndarray:
        return np.zeros((len(self._resamplers), 0), np.float32)


def _scaled(frame: av.AudioFrame) -> list[np.ndarray]:
    """Returns a frame's samples, float32 [n] in -1..1 for each channel."""
    count = frame.layout.nb_channels
    kind = frame.format.name.removesuffix("p")
    dtype, full_scale = SAMPLE_FORMATS[kind]
    if frame.format.is_planar:
        # PyAV's own to_ndarray() reads beyond the eighth plane and crashes.
        channels = [np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes[:count]]
    else:
        samples = np.frombuffer(frame.planes[0], dtype, frame.samples * count)
        channels = [samples[number::count] for number in range(count)]
    if kind == "flt":
        return channels
    if kind == "u8":
        channels = [samples.astype(np.int16) - 128 for samples in channels]
    # Absurd doubles overflow here; `Resampler` refuses the result.
    with np.errstate(over="ignore"):
        return [(samples / full_scale).astype(np.float32) for samples in channels]
