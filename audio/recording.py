"""Decodes, cuts and recognises one recording piece by piece, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from audio.decoding import Decoded
from audio.layout import SAMPLE_RATE
from audio.options import Options
from audio.segmentation import PauseCutter, Piece, WindowCutter
from audio.speech import Segmenter

CHECK_SECONDS = 0.1
"""Seconds between two checks whether a waiting recording was cancelled."""


AHEAD = 8
"""Pieces that are cut in advance, so that the encoder does not wait for the decoder."""

BUSY_SECONDS = 0.5
"""Seconds before a retry when the encoder is busy."""


class BusyError(Exception):
    """The encoder is too busy now; retry later."""


class Cancelled(Exception):
    """The request was cancelled, or its client has disconnected."""


@dataclass(frozen=True)
class Answer:
    """The encoder's answer for a piece.

    Attributes:
        scores: float32 [9].
        embedding: float32 [D], or None if it was not requested.
    """

    scores: np.ndarray
    embedding: np.ndarray | None


@dataclass(frozen=True)
class Segment:
    """A piece and its answer."""

    piece: Piece
    answer: Answer


class Encoder:
    """Gives all recordings together a bounded share of the encoder.

    Args:
        encode: Returns the answer for float32 [n] at 16 kHz; the flag requests the embedding.
            Raises BusyError if the caller should retry.
        pool: Threads that wait for the answers.
        max_seconds: Most audio in flight, in seconds; a single piece is always allowed.
    """

    def __init__(
        self, encode: Callable[[np.ndarray, bool], Answer], pool: Executor, max_seconds: float
    ) -> None:
        self._encode = encode
        self._pool = pool
        self._max_samples = max_seconds * SAMPLE_RATE
        self._samples = 0
        self._room = threading.Condition()

    def submit(
        self, samples: np.ndarray, embedding: bool, check: Callable[[], None]
    ) -> Future[Answer]:
        """Sends a piece as soon as there is room for it; calls ``check`` while it waits."""
        return self._pool.submit(self._ask, samples, embedding, check)

    def _ask(self, samples: np.ndarray, embedding: bool, check: Callable[[], None]) -> Answer:
        with self._reserve(len(samples), check):
            while True:
                try:
                    return self._encode(samples, embedding)
                except BusyError:
                    # Short requests fill the encoder's queue. Do not lose an hour's work for that.
                    check()
                    time.sleep(BUSY_SECONDS)

    @contextmanager
    def _reserve(self, size: int, check: Callable[[], None]) -> Iterator[None]:
        with self._room:
            while self._samples and self._samples + size > self._max_samples:
                check()
                self._room.wait(CHECK_SECONDS)
            self._samples += size
        try:
            yield
        finally:
            with self._room:
                self._samples -= size
                self._room.notify_all()


class Recording:
    """The work of one request.

    Args:
        options: How to cut.
        embedding: Whether to keep the embeddings.
        is_cancelled: Returns whether the client has cancelled or disconnected.

    Attributes:
        segments: The answered segments, in order.
        cancelled: Set it to stop the work.
    """

    def __init__(self, options: Options, embedding: bool, is_cancelled: Callable[[], bool]) -> None:
        self.segments: list[Segment] = []
        self.cancelled = threading.Event()
        self._options = options
        self._embedding = embedding
        self._is_cancelled = is_cancelled
        self._pending: deque[tuple[Piece, Future[Answer]]] = deque()
        self._segmenter = Segmenter(cutter(options))
        self._decoded = 0
        self._position = 0.0

    def run(self, blocks: Generator[Decoded, None, None], encoder: Encoder) -> None:
        """Works until all segments are answered.

        Args:
            blocks: The recording; closed at the end.
            encoder: Answers the pieces.

        Raises:
            AudioError: The recording cannot be used.
            Cancelled: The work was stopped.
        """
        try:
            for piece in self._pieces(blocks):
                samples = self._segmenter.tape.cut(piece.start, piece.end)
                future = encoder.submit(samples, self._embedding, self._check)
                self._pending.append((piece, future))
                self._collect(AHEAD)
            self._collect(0)
        finally:
            blocks.close()
            for _, future in self._pending:
                future.cancel()

    @property
    def duration(self) -> float:
        """Seconds of audio processed so far."""
        return self._total / SAMPLE_RATE

    @property
    def peaks(self) -> np.ndarray:
        """The largest magnitude in each 96 ms of that audio, float32 [n]."""
        return self._segmenter.tape.peaks

    @property
    def speech_ratio(self) -> float:
        """Share of that audio that is speech."""
        return self._segmenter.speech / self._total if self._total else 0.0

    @property
    def _total(self) -> int:
        return self._segmenter.tape.total

    @property
    def progress(self) -> float:
        """Estimated share of the recording that is answered, 0 to 1."""
        pending = list(self._pending)
        answered = pending[0][0].start if pending else self._total
        return self._position * answered / self._decoded if self._decoded else 0.0

    def _pieces(self, blocks: Iterator[Decoded]) -> Iterator[Piece]:
        for block in blocks:
            self._check()
            self._decoded += len(block.samples)
            self._position = block.position
            for pieces in self._segmenter.push(block.samples):
                yield from pieces
        for pieces in self._segmenter.finish():
            yield from pieces

    def _check(self) -> None:
        if self.cancelled.is_set() or self._is_cancelled():
            raise Cancelled

    def _collect(self, most: int) -> None:
        """Collects answered pieces, and waits until at most ``most`` pieces are pending."""
        while self._pending:
            piece, future = self._pending[0]
            while len(self._pending) > most and not future.done():
                self._check()
                wait([future], CHECK_SECONDS)
            if not future.done():
                return
            # In this order, so that a progress request in between sees no gap.
            self.segments.append(Segment(piece, future.result()))
            self._pending.popleft()


def cutter(options: Options) -> PauseCutter | WindowCutter:
    """Cuts as the options say."""
    if options.segmentation == "fixed":
        return WindowCutter(options.window, options.hop)
    return PauseCutter(options.min_segment, options.max_segment)
