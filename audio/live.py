"""Follows one speaker while the audio arrives, and says what to recognise, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audio.layout import SAMPLE_RATE
from audio.resampling import Resampler
from audio.segmentation import PauseCutter, Piece
from audio.speech import Segmenter

SHORTEST, LONGEST = 1.0, 10.0
"""Seconds of a piece, as in a timeline by default."""

INTERIM_SECONDS = 5.0
"""An interim measurement hears the last seconds of speech, at most this many."""

HELD_SECONDS = 16
"""Longer than a piece, what joins it, and the silence that ends it."""


Kind = Literal["final", "early", "interim"]


@dataclass(frozen=True)
class Started:
    """Speech has begun.

    Attributes:
        at: Its first sample, with the padding of a piece.
    """

    at: int


@dataclass(frozen=True)
class Ended:
    """A pause has begun.

    Attributes:
        at: The sample after the last of the piece before it.
    """

    at: int


@dataclass(frozen=True, eq=False)
class Heard:
    """Audio to recognise.

    Attributes:
        kind: ``final`` for a piece as in a timeline; ``early`` for one that will be final if no
            more speech follows; ``interim`` for the last seconds of speech that goes on.
        piece: Where it is.
        samples: float32 [n] at 16 kHz.
        decided: The sample after which this could be known at the earliest: the end of speech, or
            where it went on for too long.
    """

    kind: Kind
    piece: Piece
    samples: np.ndarray
    decided: int


Event = Started | Ended | Heard


class Speaker:
    """One channel of a stream.

    Args:
        rate: Samples per second.
        interval: Seconds of speech between interim measurements; 0 for none.

    Attributes:
        speech: Samples of speech at 16 kHz so far.
        total: Samples at 16 kHz so far.
        marks: A byte for each chunk of 32 ms so far, 1 if it is speech.
    """

    def __init__(self, rate: int, interval: float) -> None:
        self._resampler = Resampler(rate)
        self._cutter = PauseCutter(SHORTEST, LONGEST)
        self._segmenter = Segmenter(self._cutter, HELD_SECONDS)
        self._interval = interval * SAMPLE_RATE
        self._next_interim = 0.0  # Samples of speech.
        self._open = False
        self._known: Piece | None = None

    @property
    def speech(self) -> int:
        return self._segmenter.speech

    @property
    def total(self) -> int:
        return self._segmenter.tape.total

    @property
    def marks(self) -> bytearray:
        return self._segmenter.marks

    def push(self, samples: np.ndarray) -> Iterator[Event]:
        """Takes the next samples of the channel, float32 [n] at its rate."""
        yield from self._follow(self._segmenter.push(self._resampler.push(samples)))

    def finish(self) -> Iterator[Event]:
        """The last events, at the end of the stream."""
        yield from self._follow(self._segmenter.push(self._resampler.finish()))
        yield from self._follow(self._segmenter.finish())

    def _follow(self, steps: Iterable[list[Piece]]) -> Iterator[Event]:
        cutter = self._cutter
        for pieces in steps:
            speech = cutter.open
            if speech is not None and not self._open:
                self._open = True
                self._next_interim = self.speech - speech.speech + self._interval
                yield Started(speech.start)
            elif speech is None and self._open:
                self._open = False
                yield Ended(cutter.padded)
            for piece in pieces:
                ended = piece.end >= cutter.spoken
                yield self._heard("final", piece, cutter.spoken if ended else cutter.total)
            known = cutter.ending
            if known is not None and known != self._known:
                self._known = known
                yield self._heard("early", known, cutter.spoken)
            if speech is not None and self._interval and self.speech >= self._next_interim:
                self._next_interim = self.speech + self._interval
                start = max(speech.start, speech.end - int(INTERIM_SECONDS * SAMPLE_RATE))
                part = Piece(start, speech.end, min(speech.speech, speech.end - start))
                yield self._heard("interim", part, speech.end)

    def _heard(self, kind: Kind, piece: Piece, decided: int) -> Heard:
        return Heard(kind, piece, self._segmenter.tape.cut(piece.start, piece.end), decided)
