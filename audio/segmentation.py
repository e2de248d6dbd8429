"""Decides where to cut a long recording: at its pauses, or into windows of equal length.

Pure functions over a stream of 32 ms chunks. Each reads only as far as it needs to decide, and
keeps only the piece that it is working on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
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
"""A fragment joins its neighbour only across a pause shorter than this, in seconds."""

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


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording that the encoder hears as one clip.

    Attributes:
        start: First sample.
        end: Sample after the last.
        speech: Number of its samples that are speech.
    """

    start: int
    end: int
    speech: int


def mark_speech(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bool]]:
    """Marks each chunk as speech or not, in order, as soon as that is decided.

    Args:
        chunks: All chunks of one recording, in order.
    """
    least_speech, least_silence = _chunks(LEAST_SPEECH), _chunks(LEAST_SILENCE)
    undecided: list[Chunk] = []
    speaking = False  # Whether speech has lasted long enough to count.
    run = silence = 0  # Chunks since speech may have begun, and since it may have ended.
    for chunk in chunks:
        if not run and chunk.probability < SPEECH:
            yield chunk, False
            continue
        undecided.append(chunk)
        run += 1
        if chunk.probability >= SPEECH:
            silence = 0
        elif silence or chunk.probability < NO_SPEECH:
            silence += 1
        speaking = speaking or run - silence >= least_speech
        if silence >= least_silence:
            yield from ((each, False) for each in undecided)
            undecided.clear()
            speaking, run, silence = False, 0, 0
        elif speaking and not silence:
            yield from ((each, True) for each in undecided)
            undecided.clear()
    # The recording ends in speech too short to count, or in a silence that no speech follows.
    yield from ((each, False) for each in undecided)


def cut_at_pauses(
    marked: Iterable[tuple[Chunk, bool]], shortest: float, longest: float
) -> Iterator[Piece]:
    """Cuts speech into pieces that end at pauses, and drops the rest.

    Speech longer than the longest piece is cut where it is quietest. A fragment shorter than the
    shortest piece joins a neighbour if one is near. Otherwise it stays alone, because a single
    word may be an answer.

    Args:
        marked: What `mark_speech` yields.
        shortest: A piece shorter than this, in seconds, is a fragment.
        longest: Longest piece, in seconds; at least twice ``shortest``.
    """
    held: Piece | None = None
    for piece in _spans(marked, _chunks(shortest), int(longest * SAMPLE_RATE) // CHUNK):
        if held is not None and piece is not None and _join(held, piece, shortest, longest):
            held = Piece(held.start, piece.end, held.speech + piece.speech)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def cut_in_windows(
    marked: Iterable[tuple[Chunk, bool]], window: float, hop: float
) -> Iterator[Piece]:
    """Cuts windows of equal length, whatever they contain.

    The last window ends with the recording. It is at least half a window long, because a shorter
    one would say little; if necessary, it begins earlier. If windows do not overlap, the window
    before it then ends where it begins.

    Args:
        marked: What `mark_speech` yields.
        window: Length of a window, in seconds.
        hop: Seconds from one window's start to the next one's; at most ``window``.
    """
    length = round(window * SAMPLE_RATE)
    half = length // 2
    voiced: deque[tuple[int, int]] = deque()  # Start and end of the speech that is still needed.
    number = total = 0
    start, following = 0, round(hop * SAMPLE_RATE)
    for chunk, is_speech in marked:
        if is_speech:
            voiced.append((total, total + chunk.samples))
        total += chunk.samples
        # Yield a window once its end can no longer move.
        while total >= max(start + length, following + half):
            yield _window(start, start + length, voiced)
            number += 1
            start, following = following, round((number + 1) * hop * SAMPLE_RATE)
            while voiced and voiced[0][1] <= start:
                voiced.popleft()
    end = start + length
    if total <= end:
        if not number or total > round((number - 1) * hop * SAMPLE_RATE) + length:
            yield _window(start, total, voiced)
        return
    last = min(following, total - half)
    yield _window(start, min(end, last) if following == end else end, voiced)
    yield _window(last, total, voiced)


def _window(start: int, end: int, voiced: Iterable[tuple[int, int]]) -> Piece:
    speech = sum(max(0, min(end, high) - max(start, low)) for low, high in voiced)
    return Piece(start, end, speech)


def _join(held: Piece, piece: Piece, shortest: float, longest: float) -> bool:
    fragment = min(held.end - held.start, piece.end - piece.start) < shortest * SAMPLE_RATE
    return fragment and piece.end - held.start <= longest * SAMPLE_RATE


def _spans(
    marked: Iterable[tuple[Chunk, bool]], shortest: int, longest: int
) -> Iterator[Piece | None]:
    """Yields speech between pauses, in pieces of at most ``longest`` chunks.

    None means that no speech follows nearby, so that the caller need not hold the last piece
    through an hour of music.
    """
    pause, near, pad = _chunks(PAUSE), _chunks(NEAR), _chunks(PAD)
    span: list[tuple[Chunk, bool]] = []  # Padding, then everything since the first speech.
    voiced = False  # Whether the span contains speech.
    total = silence = 0  # Samples so far, and chunks since the last speech.
    for chunk, is_speech in marked:
        total += chunk.samples
        span.append((chunk, is_speech))
        silence = 0 if is_speech else silence + 1
        voiced = voiced or is_speech
        if not voiced:
            del span[:-pad]
            if silence == near:
                yield None
        elif silence > pause:
            start = _start(span, total)
            yield from _pieces(span[: pad - silence], start, shortest, longest)
            del span[:-pad]
            voiced = False
        elif len(span) - silence >= longest + shortest:
            cut = _quietest(span, longest // 2, longest)
            yield _piece(span[:cut], _start(span, total))
            del span[:cut]
    if voiced:
        start = _start(span, total)
        yield from _pieces(span[: len(span) - max(0, silence - pad)], start, shortest, longest)


def _pieces(
    span: list[tuple[Chunk, bool]], start: int, shortest: int, longest: int
) -> Iterator[Piece]:
    """Yields a span that has ended, in two pieces if it is too long."""
    if len(span) > longest:
        low, high = max(longest // 2, len(span) - longest), min(longest, len(span) - shortest)
        cut = _quietest(span, low, high)
        yield _piece(span[:cut], start)
        span, start = span[cut:], start + cut * CHUNK
    yield _piece(span, start)


def _start(span: list[tuple[Chunk, bool]], total: int) -> int:
    """The first sample of a span that ends at sample ``total``."""
    return total - sum(chunk.samples for chunk, _ in span)


def _quietest(span: list[tuple[Chunk, bool]], low: int, high: int) -> int:
    """Where to cut, between ``low`` and ``high`` chunks: in the quietest eighth of a second."""
    power = [chunk.power for chunk, _ in span]
    # If several are equally quiet, take the latest, because short pieces are recognised less well.
    return min(range(high, low - 1, -1), key=lambda cut: sum(power[max(0, cut - 2) : cut + 2]))


def _piece(span: list[tuple[Chunk, bool]], start: int) -> Piece:
    end = start + sum(chunk.samples for chunk, _ in span)
    return Piece(start, end, sum(chunk.samples for chunk, voiced in span if voiced))


def _chunks(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE / CHUNK))
