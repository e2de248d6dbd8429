"""Where a long recording is cut: at its pauses, or in windows of equal length.

Pure functions over a stream of chunks of 32 ms: each reads as far as it needs to decide, and holds
no more than the piece it is working on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audio.layout import SAMPLE_RATE

CHUNK = 512
"""Samples to a chunk, as the voice detector takes them; only a recording's last is shorter."""

SPEECH, NO_SPEECH = 0.5, 0.25
"""Speech begins at the first probability and ends below the second, so that it does not flicker."""

LEAST_SPEECH = 0.16
"""Seconds. What is shorter is a click, or a note of music that sounded like a voice."""

LEAST_SILENCE = 0.16
"""Seconds. What is shorter is a stop within a word."""

PAUSE = 0.4
"""Seconds without speech that end a piece."""

NEAR = 1.0
"""Seconds of pause that part a fragment from its neighbour."""

PAD = 0.064
"""Seconds added before and after speech, whose first and last sounds are soft."""


@dataclass(frozen=True)
class Chunk:
    """Up to 512 samples.

    Attributes:
        samples: How many; 512 but for the last.
        probability: That it is speech, 0 to 1.
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
        speech: Samples of it that are speech.
    """

    start: int
    end: int
    speech: int


def label(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bool]]:
    """Says of each chunk whether it is speech, in order, as soon as that is decided.

    Args:
        chunks: Of one recording, from its beginning.
    """
    least_speech, least_silence = _chunks(LEAST_SPEECH), _chunks(LEAST_SILENCE)
    undecided: list[Chunk] = []
    speaking = False  # For long enough to count.
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
    # Too short to count, or what may have been the end of speech: the recording ended, so it was.
    yield from ((each, False) for each in undecided)


def cut_at_pauses(
    labelled: Iterable[tuple[Chunk, bool]], shortest: float, longest: float
) -> Iterator[Piece]:
    """Cuts speech into pieces that end at pauses and leaves the rest out.

    Speech that goes on for longer than the longest piece is cut where it is quietest. A fragment
    shorter than the shortest piece joins a neighbour that is near; one that has none stays as it
    is, since a lone word is an answer too.

    Args:
        labelled: As `label` gives them.
        shortest: Seconds under which a piece is a fragment.
        longest: Seconds of the longest piece, at least twice the shortest.
    """
    held: Piece | None = None
    for piece in _spans(labelled, _chunks(shortest), int(longest * SAMPLE_RATE) // CHUNK):
        if held is not None and piece is not None and _join(held, piece, shortest, longest):
            held = Piece(held.start, piece.end, held.speech + piece.speech)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def cut_in_windows(
    labelled: Iterable[tuple[Chunk, bool]], window: float, hop: float
) -> Iterator[Piece]:
    """Cuts windows of equal length, whatever is in them.

    The last one ends with the recording and is at least half a window long, since a shorter one
    would say little: it begins earlier if need be. If windows do not overlap, the one before then
    ends where it begins.

    Args:
        labelled: As `label` gives them.
        window: Seconds to a window.
        hop: Seconds from one window's start to the next one's, at most the window.
    """
    length = round(window * SAMPLE_RATE)
    half = length // 2
    voiced: deque[tuple[int, int]] = deque()  # Start and end of the speech that is still needed.
    number = total = 0
    start, following = 0, round(hop * SAMPLE_RATE)
    for chunk, is_speech in labelled:
        if is_speech:
            voiced.append((total, total + chunk.samples))
        total += chunk.samples
        # A window goes out when its end cannot move any more.
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
    labelled: Iterable[tuple[Chunk, bool]], shortest: int, longest: int
) -> Iterator[Piece | None]:
    """Speech between pauses, none longer than ``longest`` chunks.

    None says that nothing near follows the last one, so that nobody waits for it through an hour
    of music.
    """
    pause, near, pad = _chunks(PAUSE), _chunks(NEAR), _chunks(PAD)
    span: list[tuple[Chunk, bool]] = []  # Padding, then from the first speech on.
    voiced = False  # Whether there is speech in it.
    total = silence = 0  # Samples so far, and chunks since the last speech.
    for chunk, is_speech in labelled:
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
    """A span that has ended, in two where it is too long."""
    if len(span) > longest:
        low, high = max(longest // 2, len(span) - longest), min(longest, len(span) - shortest)
        cut = _quietest(span, low, high)
        yield _piece(span[:cut], start)
        span, start = span[cut:], start + cut * CHUNK
    yield _piece(span, start)


def _start(span: list[tuple[Chunk, bool]], total: int) -> int:
    """The first sample of a span that ends where the recording now is."""
    return total - sum(chunk.samples for chunk, _ in span)


def _quietest(span: list[tuple[Chunk, bool]], low: int, high: int) -> int:
    """Where to cut within ``low`` to ``high`` chunks: amid the quietest eighth of a second."""
    power = [chunk.power for chunk, _ in span]
    # The latest of equals, since short pieces are recognised worse.
    return min(range(high, low - 1, -1), key=lambda cut: sum(power[max(0, cut - 2) : cut + 2]))


def _piece(span: list[tuple[Chunk, bool]], start: int) -> Piece:
    end = start + sum(chunk.samples for chunk, _ in span)
    return Piece(start, end, sum(chunk.samples for chunk, voiced in span if voiced))


def _chunks(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE / CHUNK))
