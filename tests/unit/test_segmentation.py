"""Where recordings are cut, against borders computed by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from audio.layout import SAMPLE_RATE
from audio.limits import AudioError
from audio.options import Options
from audio.segmentation import (
    CHUNK,
    Chunk,
    Marked,
    PauseCutter,
    Piece,
    SpeechMarker,
    WindowCutter,
)

LOUD, SOFT = 1e-2, 1e-6


def chunks(*runs: tuple[int, float]) -> list[Chunk]:
    """Runs of chunks with the same probability."""
    return [Chunk(CHUNK, probability, LOUD) for count, probability in runs for _ in range(count)]


def mark(stream: Iterable[Chunk]) -> Iterator[Marked]:
    """Each chunk with its mark, as soon as that is decided."""
    marker = SpeechMarker()
    for chunk in stream:
        yield from marker.push(chunk)
    yield from marker.finish()


def cut_with(cutter: PauseCutter | WindowCutter, marked: Iterable[Marked]) -> Iterator[Piece]:
    """Each piece, as soon as it is complete."""
    for chunk, is_speech in marked:
        yield from cutter.push(chunk, is_speech)
    yield from cutter.finish()


def marks(*runs: tuple[int, float]) -> str:
    """The marks of these chunks: ``#`` is speech."""
    return "".join(".#"[is_speech] for _, is_speech in mark(chunks(*runs)))


def test_speech_begins_at_one_threshold_and_ends_below_another() -> None:
    assert marks((3, 0.4), (10, 0.6), (4, 0.4), (8, 0.2)) == "..." + "#" * 14 + "." * 8


def test_a_click_is_no_speech_and_a_stop_within_a_word_is() -> None:
    assert marks((4, 0.9), (9, 0.1)) == "." * 13
    assert marks((5, 0.9), (9, 0.1)) == "#" * 5 + "." * 9
    assert marks((6, 0.9), (4, 0.1), (6, 0.9)) == "#" * 16
    assert marks((6, 0.9), (5, 0.1), (6, 0.9)) == "######.....######"


def test_a_mark_comes_as_soon_as_it_is_decided() -> None:
    """Otherwise an hour of music or speech would stay in memory."""
    source = itertools.chain(chunks((3, 0.1), (20, 0.9)), iter(pytest.fail, None))
    assert [is_speech for _, is_speech in itertools.islice(mark(source), 23)] == (
        [False] * 3 + [True] * 20
    )


def cut(
    *runs: tuple[int, float], shortest: float = 1.0, longest: float = 10.0, quiet: int = -1
) -> list[tuple[int, int, int]]:
    """The pieces of runs of speech and silence: start, end and amount of speech, in chunks."""
    stream = chunks(*runs)
    if quiet >= 0:
        stream[quiet - 2 : quiet + 2] = [Chunk(CHUNK, 0.9, SOFT)] * 4
    found = cut_with(PauseCutter(shortest, longest), mark(stream))
    return [(p.start // CHUNK, p.end // CHUNK, p.speech // CHUNK) for p in found]


SPEECH, SILENCE = 0.9, 0.0


def test_a_pause_of_400_ms_ends_a_piece_and_a_shorter_one_does_not() -> None:
    # Each piece has two chunks of padding on both sides, if there is room.
    assert cut((40, SPEECH), (13, SILENCE), (50, SPEECH), (40, SILENCE)) == [
        (0, 42, 40),
        (51, 105, 50),
    ]
    assert cut((40, SPEECH), (12, SILENCE), (50, SPEECH), (40, SILENCE)) == [(0, 104, 90)]
    assert cut((40, SPEECH)) == [(0, 40, 40)]


def test_a_fragment_joins_what_follows_within_a_second() -> None:
    # 20 chunks (0.64 s) are a fragment; 40 (1.28 s) are not.
    near, far = (26, SILENCE), (31, SILENCE)
    assert cut((20, SPEECH), near, (40, SPEECH)) == [(0, 86, 60)]
    pause = (14, SILENCE)
    assert cut((6, SPEECH), pause, (6, SPEECH), pause, (40, SPEECH)) == [(0, 80, 52)]
    # What is before it may have been answered already.
    assert cut((40, SPEECH), near, (20, SPEECH)) == [(0, 42, 40), (64, 86, 20)]
    assert cut((40, SPEECH), near, (40, SPEECH)) == [(0, 42, 40), (64, 106, 40)]
    assert cut((20, SPEECH), far, (40, SPEECH)) == [(0, 22, 20), (49, 91, 40)]


def test_a_fragment_does_not_join_what_would_be_too_long_then() -> None:
    assert cut((20, SPEECH), (26, SILENCE), (40, SPEECH), longest=2.5) == [
        (0, 22, 20),
        (44, 86, 40),
    ]


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    # 12.8 s without a pause. A piece has at most 312 chunks, and leaves a second for the next.
    assert cut((400, SPEECH), quiet=250) == [(0, 250, 250), (250, 400, 150)]
    # A piece is never shorter than half of the longest allowed.
    [(_, end, _), _] = cut((400, SPEECH), quiet=100)
    assert end >= 156


def test_what_is_cut_is_never_too_long_nor_lost() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        runs = [
            (int(random.integers(1, 500)), probability)
            for _ in range(6)
            for probability in (SPEECH, SILENCE)
        ]
        stream = [
            Chunk(CHUNK, chunk.probability, float(random.uniform())) for chunk in chunks(*runs)
        ]
        stream[-1] = Chunk(100, stream[-1].probability, 0.5)
        marked = list(mark(stream))
        pieces = list(cut_with(PauseCutter(1.0, 10.0), marked))
        assert all(piece.end - piece.start <= 10 * SAMPLE_RATE for piece in pieces)
        assert all(one.end <= other.start for one, other in itertools.pairwise(pieces))
        speech = sum(chunk.samples for chunk, is_speech in marked if is_speech)
        assert sum(piece.speech for piece in pieces) == speech


def test_a_piece_comes_before_the_hour_of_music_that_follows_it() -> None:
    source = itertools.chain(chunks((60, SPEECH), (40, SILENCE)), iter(pytest.fail, None))
    [piece] = itertools.islice(cut_with(PauseCutter(1.0, 10.0), mark(source)), 1)
    assert piece.end == 62 * CHUNK


def test_a_piece_is_complete_at_its_pause_and_known_before() -> None:
    """A stream asks for the scores when it is known, and has them when it is complete."""
    marker, cutter = SpeechMarker(), PauseCutter(1.0, 10.0)
    known: dict[int, Piece | None] = {}
    for number, chunk in enumerate(chunks((60, SPEECH), (40, SILENCE))):
        for decided, is_speech in marker.push(chunk):
            if pieces := cutter.push(decided, is_speech):
                assert number - 60 == 12  # 13 chunks, 416 ms.
                assert pieces == [known[number - 1]]
        known[number] = cutter.ending
    assert [number for number, piece in known.items() if piece] == list(range(64, 72))


def test_speech_that_has_not_ended_grows() -> None:
    marker, cutter = SpeechMarker(), PauseCutter(1.0, 10.0)
    ends = []
    for chunk in chunks((10, SILENCE), (20, SPEECH)):
        for decided, is_speech in marker.push(chunk):
            cutter.push(decided, is_speech)
        ends.append(cutter.open and (cutter.open.start // CHUNK, cutter.open.end // CHUNK))
    assert ends == [None] * 14 + [(8, end) for end in range(15, 31)]


def windows(seconds: float, window: float, hop: float) -> list[tuple[float, float]]:
    """The windows of a recording, in seconds."""
    samples = round(seconds * SAMPLE_RATE)
    sizes = [CHUNK] * (samples // CHUNK) + ([samples % CHUNK] if samples % CHUNK else [])
    stream = [(Chunk(size, 0.0, 0.0), False) for size in sizes]
    found = cut_with(WindowCutter(window, hop), stream)
    return [(piece.start / SAMPLE_RATE, piece.end / SAMPLE_RATE) for piece in found]


def test_windows_have_the_borders_that_one_finds_by_hand() -> None:
    assert windows(7.5, 3, 3) == [(0, 3), (3, 6), (6, 7.5)]
    assert windows(6, 3, 3) == [(0, 3), (3, 6)]
    assert windows(4, 2, 0.5) == [(0, 2), (0.5, 2.5), (1, 3), (1.5, 3.5), (2, 4)]
    assert windows(4.25, 2, 1) == [(0, 2), (1, 3), (2, 4), (3, 4.25)]
    assert windows(0.1, 3, 1) == [(0, 0.1)]


@pytest.mark.parametrize(
    ("seconds", "window", "hop", "last"),
    [
        (6.084, 3, 3, [(3, 4.584), (4.584, 6.084)]),
        (6.02, 3, 3, [(3, 4.52), (4.52, 6.02)]),
        (4.05, 2, 1.8, [(1.8, 3.8), (3.05, 4.05)]),
        (31, 30, 30, [(0, 16), (16, 31)]),
    ],
)
def test_no_window_is_shorter_than_half_of_one(
    seconds: float, window: float, hop: float, last: list[tuple[float, float]]
) -> None:
    found = windows(seconds, window, hop)
    assert found[-2:] == last
    assert min(end - start for start, end in found) >= window / 2


def test_a_window_knows_how_much_of_it_is_speech() -> None:
    stream = [(Chunk(CHUNK, 0, 0), index < 100) for index in range(200)]  # 3.2 s of 6.4 s
    found = cut_with(WindowCutter(2, 1), stream)
    shares = [piece.speech / (piece.end - piece.start) for piece in found]
    assert shares == pytest.approx([1, 1, 0.6, 0.1, 0, 0])


def test_options_have_defaults_and_may_be_strings() -> None:
    assert Options.read({}) == Options("vad", 1.0, 10.0, 3.0, 3.0)
    assert Options.read({"segmentation": "fixed", "window": "2.5"}).hop == 2.5
    assert Options.read({"max_segment": 20, "min_segment": "5"}).max_segment == 20.0


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"windw": 2}, "the parameter 'windw' is unknown: use segmentation, min_segment"),
        ({"segmentation": "words"}, "segmentation is 'words': use 'vad' or 'fixed'"),
        ({"window": "long"}, "window is 'long': use a number of seconds"),
        ({"window": "nan"}, "window is nan: use a number"),
        ({"window": 31}, "window is 31 s: use 0.25 to 30"),
        (
            {"window": 5},
            "window is given, which is an option of segmentation=fixed, and not of vad",
        ),
        (
            {"segmentation": "fixed", "min_segment": 1},
            "min_segment is given, which is an option of segmentation=vad, and not of fixed",
        ),
        ({"window": 5, "hop": 0.4}, "hop is 0.4 s: use a tenth of the window, 0.5, to"),
        ({"window": 5, "hop": 6}, "hop is 6 s: use a tenth"),
        ({"min_segment": 0}, "min_segment is 0 s: use 0.25 to 15"),
        ({"max_segment": 31}, "max_segment is 31 s: use twice min_segment, 2, to 30"),
        ({"min_segment": 6}, "max_segment is 10 s: use twice min_segment, 12, to 30"),
    ],
)
def test_options_that_make_no_sense_are_refused(parameters: dict, sentence: str) -> None:
    with pytest.raises(AudioError, match=sentence) as caught:
        Options.read(parameters)
    assert caught.value.reason == "bad_request"
