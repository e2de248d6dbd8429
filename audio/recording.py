"""Decodes, cuts and recognises one recording piece by piece, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from audio.decoding import Decoded
from audio.layout import SAMPLE_RATE
from audio.options import Options
from audio.segmentation import CHUNK, PauseCutter, Piece, WindowCutter
from audio.speech import Segmenter, count_speaking
from audio.voices import Listener, TurnCutter, VoiceModel

CHECK_SECONDS = 0.1
"""Seconds between two checks whether a waiting recording was cancelled."""


AHEAD = 8
"""Pieces that are cut in advance, so that the encoder does not wait for the decoder."""

LISTENING = 0.5
"""Share of the work that finding the speakers takes, roughly."""

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
        segments: The answered segments, in the order in which their ends were found.
        cancelled: Set it to stop the work.
    """

    def __init__(self, options: Options, embedding: bool, is_cancelled: Callable[[], bool]) -> None:
        self.segments: list[Segment] = []
        self.cancelled = threading.Event()
        self.options = options
        self._embedding = embedding
        self._is_cancelled = is_cancelled
        self._pending: deque[tuple[Piece, Future[Answer]]] = deque()
        self._segmenters: list[Segmenter] = []  # One per channel that is a speaker.
        self._known: Sequence[float] | None = None
        self._turns: TurnCutter | None = None
        self._decoded = 0
        self._position = 0.0
        self._share = 0.0  # Of the progress, which listening before has taken.

    def listen(self, blocks: Generator[Decoded, None, None], model: VoiceModel) -> None:
        """Finds who speaks when, before the recording is cut.

        Args:
            blocks: The recording; closed at the end.
            model: Tells voices apart.

        Raises:
            AudioError: The recording cannot be used.
            Cancelled: The work was stopped.
        """
        listener = Listener(model)
        try:
            for block in blocks:
                self._check()
                listener.push(block.samples)
                self._share = LISTENING * block.position
            turns = listener.finish(self.options.speakers)
        finally:
            blocks.close()
        self._known = turns.probabilities
        self._turns = TurnCutter(
            turns, lambda: PauseCutter(self.options.min_segment, self.options.max_segment)
        )

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
            for piece, samples in self._pieces(blocks):
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
        channels = [segmenter.tape.peaks for segmenter in self._segmenters]
        if not channels:
            return np.zeros(0, np.float32)
        # Another thread may be between two channels.
        length = min(map(len, channels))
        return np.max([peaks[:length] for peaks in channels], axis=0)

    @property
    def speech(self) -> list[float]:
        """Seconds of speech so far of each speaker."""
        if self._turns is not None:
            return [samples / SAMPLE_RATE for samples in self._turns.speech]
        return [segmenter.speech / SAMPLE_RATE for segmenter in self._segmenters]

    @property
    def speech_ratio(self) -> float:
        """Share of that audio in which someone speaks."""
        if not self._total:
            return 0.0
        if len(self._segmenters) == 1:
            return self._segmenters[0].speech / self._total
        return min(1.0, float((self._speaking > 0).sum()) * CHUNK / self._total)

    @property
    def overlap(self) -> float:
        """Seconds in which several channels have speech."""
        return float((self._speaking > 1).sum()) * CHUNK / SAMPLE_RATE

    @property
    def _speaking(self) -> np.ndarray:
        """The number of channels with speech in each chunk, int64 [n]."""
        return count_speaking([segmenter.marks for segmenter in self._segmenters])

    @property
    def _total(self) -> int:
        return self._segmenters[-1].tape.total if self._segmenters else 0

    @property
    def progress(self) -> float:
        """Estimated share of the recording that is answered, 0 to 1."""
        pending = list(self._pending)
        answered = pending[0][0].start if pending else self._total
        done = self._position * answered / self._decoded if self._decoded else 0.0
        return self._share + (1 - self._share) * done

    def _pieces(self, blocks: Iterator[Decoded]) -> Iterator[tuple[Piece, np.ndarray]]:
        for block in blocks:
            self._check()
            channels = np.atleast_2d(block.samples)
            self._decoded += channels.shape[1]
            self._position = block.position
            if not self._segmenters:
                self._segmenters = [self._segmenter() for _ in channels]
            for number, samples in enumerate(channels):
                yield from self._of(number, self._segmenters[number].push(samples))
        for number, segmenter in enumerate(self._segmenters):
            yield from self._of(number, segmenter.finish())

    def _segmenter(self) -> Segmenter:
        return Segmenter(self._turns or cutter(self.options), known=self._known)

    def _of(self, channel: int, steps: Iterable[list[Piece]]) -> Iterator[tuple[Piece, np.ndarray]]:
        for pieces in steps:
            for piece in pieces:
                samples = self._segmenters[channel].tape.cut(piece.start, piece.end)
                yield replace(piece, speaker=piece.speaker + channel), samples

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
