"""Decides where to cut a recording: at its pauses, or into windows of equal length.

Each class takes chunks of 32 ms one by one, and returns what they decide. So a file is cut in the
same places as the same audio in a stream. Each class keeps only the piece that it is working on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from audio.layout import SAMPLE_RATE

CHUNK = 512
"""Samples per chunk, as the voice detector needs; only the last of a recording may be shorter."""

SPEECH, NO_SPEECH = 0.5, 0.25
"""Speech begins at the first probability and ends below the second, to avoid flicker."""

LEAST_SPEECH = 0.16
"""Seconds. Shorter speech is a click, or a note of music that sounds like a voice."""

LEAST_SILENCE = 0.16
"""Seconds. A shorter silence is a stop consonant within a word."""

PAUSE = 0.4
"""Seconds without speech that end a piece."""

NEAR = 1.0
"""A fragment joins what follows only across a pause shorter than this, in seconds."""

PAD = 0.064
"""Seconds added before and after speech, because its first and last sounds are soft."""


@dataclass(frozen=True)
class Chunk:
    """Up to 512 samples.

    Attributes:
        samples: Number of samples; 512 except in the last chunk.
        probability: Probability of speech, 0 to 1.
        power: Mean square of its samples.
    """

    samples: int
    probability: float
    power: float


Marked = tuple[Chunk, bool]
"""A chunk, and whether it is speech."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording that the encoder hears as one clip.

    Attributes:
        start: First sample.
        end: Sample after the last.
        speech: Number of its samples that are speech.
        speaker: Number of the speaker, from 0.
    """

    start: int
    end: int
    speech: int
    speaker: int = 0


class SpeechMarker:
    """Marks each chunk as speech or not, in order, as soon as that is decided."""

    def __init__(self) -> None:
        self._undecided: list[Chunk] = []
        self._speaking = False  # Whether speech has lasted long enough to count.
        self._run = 0  # Chunks since speech may have begun.
        self._silence = 0  # Chunks since it may have ended.

    def push(self, chunk: Chunk) -> list[Marked]:
        """Takes the next chunk; returns the chunks that it decides: none, one or several."""
        if not self._run and chunk.probability < SPEECH:
            return [(chunk, False)]
        self._undecided.append(chunk)
        self._run += 1
        if chunk.probability >= SPEECH:
            self._silence = 0
        elif self._silence or chunk.probability < NO_SPEECH:
            self._silence += 1
        self._speaking = self._speaking or self._run - self._silence >= _chunks(LEAST_SPEECH)
        if self._silence >= _chunks(LEAST_SILENCE):
            decided = self.finish()
            self._speaking, self._run, self._silence = False, 0, 0
            return decided
        if self._speaking and not self._silence:
            return self._decide(True)
        return []

    def finish(self) -> list[Marked]:
        """The last chunks: speech too short to count, or a silence that no speech follows."""
        return self._decide(False)

    def _decide(self, is_speech: bool) -> list[Marked]:
        decided = [(each, is_speech) for each in self._undecided]
        self._undecided.clear()
        return decided


class PauseCutter:
    """Cuts speech into pieces that end at pauses, and drops the rest.

    Speech longer than the longest piece is cut where it is quietest. A fragment shorter than the
    shortest piece joins the speech that follows, if that is near. Otherwise it stays alone,
    because a single word may be an answer. (It never joins the speech before it: that piece may
    have been answered already, while its speaker is still speaking.)

    Args:
        shortest: A piece shorter than this, in seconds, is a fragment.
        longest: Longest piece, in seconds; at least twice ``shortest``.

    Attributes:
        total: Samples so far.
        spoken: The sample after the last speech so far.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self.total = 0
        self.spoken = 0
        self._shortest, self._longest = shortest * SAMPLE_RATE, longest * SAMPLE_RATE
        self._least, self._most = _chunks(shortest), int(self._longest) // CHUNK
        self._span: list[Marked] = []  # Padding, then everything since the first speech.
        self._voiced = False  # Whether the span contains speech.
        self._silence = 0  # Chunks since the last speech.
        self._fragment: Piece | None = None  # It waits for speech to join.

    def push(self, chunk: Chunk, is_speech: bool) -> list[Piece]:
        """Takes the next marked chunk; returns the pieces that it completes."""
        self.total += chunk.samples
        self._span.append((chunk, is_speech))
        if is_speech:
            self.spoken, self._silence, self._voiced = self.total, 0, True
        else:
            self._silence += 1
        if not self._voiced:
            del self._span[: -_chunks(PAD)]
            # Hold no fragment through an hour of music.
            return self._release() if self._silence == _chunks(NEAR) else []
        if self._silence > _chunks(PAUSE):
            return self._end()
        if len(self._span) - self._silence >= self._most + self._least:
            cut = _quietest(self._span, self._most // 2, self._most)
            piece = _piece(self._span[:cut], self._start)
            del self._span[:cut]
            return self._join([piece])
        return []

    def finish(self) -> list[Piece]:
        """The last pieces, at the end of the recording."""
        return (self._end() if self._voiced else []) + self._release()

    @property
    def open(self) -> Piece | None:
        """The speech that has not ended: from its start to here; None in a pause."""
        return _piece(self._span, self._start) if self._voiced else None

    @property
    def ending(self) -> Piece | None:
        """The piece that ends here if a pause follows; None while that cannot be known."""
        if not self._voiced or self._silence < _chunks(PAD):
            return None
        last, fragment = self._pieces()[-1], self._fragment
        return last if fragment is None else self._joined(fragment, last) or last

    @property
    def padded(self) -> int:
        """The sample after the last of a piece that ends with the last speech."""
        return min(self.spoken + _chunks(PAD) * CHUNK, self.total)

    def _end(self) -> list[Piece]:
        pieces = self._join(self._pieces())
        del self._span[: -_chunks(PAD)]
        self._voiced = False
        return pieces

    def _pieces(self) -> list[Piece]:
        """The span without its silence, in two pieces if it is too long."""
        span, start = self._span, self._start
        span = span[: len(span) - max(0, self._silence - _chunks(PAD))]
        if len(span) <= self._most:
            return [_piece(span, start)]
        low = max(self._most // 2, len(span) - self._most)
        cut = _quietest(span, low, min(self._most, len(span) - self._least))
        return [_piece(span[:cut], start), _piece(span[cut:], start + cut * CHUNK)]

    def _join(self, pieces: list[Piece]) -> list[Piece]:
        """Joins the waiting fragment to the first piece, and keeps the last if it is one."""
        complete = []
        for piece in pieces:
            if self._fragment is not None:
                joined = self._joined(self._fragment, piece)
                if joined is None:
                    complete.append(self._fragment)
                piece, self._fragment = joined or piece, None
            if piece.end - piece.start < self._shortest:
                self._fragment = piece
            else:
                complete.append(piece)
        return complete

    def _joined(self, fragment: Piece, piece: Piece) -> Piece | None:
        """Both as one piece, unless that is too long."""
        if piece.end - fragment.start > self._longest:
            return None
        return Piece(fragment.start, piece.end, fragment.speech + piece.speech)

    def _release(self) -> list[Piece]:
        fragment, self._fragment = self._fragment, None
        return [] if fragment is None else [fragment]

    @property
    def _start(self) -> int:
        """The first sample of the span."""
        return self.total - sum(chunk.samples for chunk, _ in self._span)


class WindowCutter:
    """Cuts windows of equal length, whatever they contain.

    The last window ends with the recording. It is at least half a window long, because a shorter
    one would say little; if necessary, it begins earlier. If windows do not overlap, the window
    before it then ends where it begins.

    Args:
        window: Length of a window, in seconds.
        hop: Seconds from one window's start to the next one's; at most ``window``.
    """

    def __init__(self, window: float, hop: float) -> None:
        self._length = round(window * SAMPLE_RATE)
        self._hop = hop
        self._voiced: deque[tuple[int, int]] = deque()  # Start and end of speech still needed.
        self._number = 0
        self._total = 0

    def push(self, chunk: Chunk, is_speech: bool) -> list[Piece]:
        """Takes the next marked chunk; returns the windows whose ends can no longer move."""
        if is_speech:
            self._voiced.append((self._total, self._total + chunk.samples))
        self._total += chunk.samples
        complete = []
        while self._total >= max(
            self._at(self._number) + self._length, self._at(self._number + 1) + self._length // 2
        ):
            start = self._at(self._number)
            complete.append(self._window(start, start + self._length))
            self._number += 1
            while self._voiced and self._voiced[0][1] <= self._at(self._number):
                self._voiced.popleft()
        return complete

    def finish(self) -> list[Piece]:
        """The last windows, at the end of the recording."""
        start, following = self._at(self._number), self._at(self._number + 1)
        end = start + self._length
        if self._total <= end:
            before = self._at(self._number - 1) + self._length
            if not self._number or self._total > before:
                return [self._window(start, self._total)]
            return []
        last = min(following, self._total - self._length // 2)
        return [
            self._window(start, min(end, last) if following == end else end),
            self._window(last, self._total),
        ]

    def _at(self, number: int) -> int:
        """The first sample of a window."""
        return round(number * self._hop * SAMPLE_RATE)

    def _window(self, start: int, end: int) -> Piece:
        speech = sum(max(0, min(end, high) - max(start, low)) for low, high in self._voiced)
        return Piece(start, end, speech)


def _quietest(span: list[Marked], low: int, high: int) -> int:
    """Where to cut, between ``low`` and ``high`` chunks: in the quietest eighth of a second."""
    power = [chunk.power for chunk, _ in span]
    # If several are equally quiet, take the latest, because short pieces are recognised less well.
    return min(range(high, low - 1, -1), key=lambda cut: sum(power[max(0, cut - 2) : cut + 2]))


def _piece(span: list[Marked], start: int) -> Piece:
    end = start + sum(chunk.samples for chunk, _ in span)
    return Piece(start, end, sum(chunk.samples for chunk, voiced in span if voiced))


def _chunks(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE / CHUNK))
