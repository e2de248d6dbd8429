"""What a stream asks for, against the pieces of the same audio as a file."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import pytest

from audio.decoding import decode
from audio.encodings import Unpacker
from audio.layout import SAMPLE_RATE
from audio.live import LONGEST, SHORTEST, Ended, Heard, Speaker, Started
from audio.options import Options
from audio.recording import cutter
from audio.segmentation import Piece
from audio.speech import Segmenter
from benchmarks.launch import SAMPLES
from tests.fuzz.limits import LIMITS

SECOND = SAMPLE_RATE


def file_pieces(samples: np.ndarray) -> list[Piece]:
    """The pieces of a recording that is decoded from a file."""
    segmenter = Segmenter(cutter(Options()))
    steps = [*segmenter.push(samples), *segmenter.finish()]
    return [piece for step in steps for piece in step]


def events(speaker: Speaker, samples: np.ndarray, size: int) -> Iterator[Started | Ended | Heard]:
    for start in range(0, len(samples), size):
        yield from speaker.push(samples[start : start + size])
    yield from speaker.finish()


@pytest.fixture(scope="module")
def story() -> np.ndarray:
    return decode((SAMPLES / "story.ogg").read_bytes(), LIMITS).samples


@pytest.mark.parametrize("size", [320, 1600, 15632])
def test_a_stream_is_cut_as_a_file(story: np.ndarray, size: int) -> None:
    heard = list(events(Speaker(SAMPLE_RATE, 1.5), story, size))
    finals = [each for each in heard if isinstance(each, Heard) and each.kind == "final"]
    assert [each.piece for each in finals] == file_pieces(story)
    for each in finals:
        np.testing.assert_array_equal(each.samples, story[each.piece.start : each.piece.end])


def test_options_of_a_stream_are_the_defaults_of_a_timeline() -> None:
    assert (Options().min_segment, Options().max_segment) == (SHORTEST, LONGEST)


def test_the_order_of_events(story: np.ndarray) -> None:
    """Each piece is known before the pause after it is over, and speech begins before it ends."""
    speaking, known = False, set()
    for event in events(Speaker(SAMPLE_RATE, 0.5), story, 320):
        if isinstance(event, (Started, Ended)):
            assert speaking == isinstance(event, Ended)
            speaking = not speaking
        elif event.kind == "early":
            known.add(event.piece)
        elif event.kind == "interim":
            assert speaking
            assert 0.5 * SECOND <= len(event.samples) <= 5 * SECOND
        else:
            # Speech without a pause is cut later, where it was quietest.
            assert event.piece in known or event.decided > event.piece.end + SECOND
    assert not speaking
    assert known


def test_interim_measurements_come_at_their_interval(story: np.ndarray) -> None:
    counts = {}
    for interval in (0, 0.5, 2):
        heard = events(Speaker(SAMPLE_RATE, interval), story, 320)
        kinds = [each.kind for each in heard if isinstance(each, Heard)]
        counts[interval] = kinds.count("interim")
    spoken = sum(piece.speech for piece in file_pieces(story)) / SECOND
    assert counts[0] == 0
    assert spoken / 0.5 - 4 <= counts[0.5] <= spoken / 0.5
    assert 1 <= counts[2] <= spoken / 2


@pytest.mark.parametrize(("encoding", "codec"), [("mulaw", "pcm_mulaw"), ("alaw", "pcm_alaw")])
def test_telephone_encodings_are_those_of_ffmpeg(encoding: str, codec: str) -> None:
    data = bytes(range(256))
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    [frame] = decoder.decode(av.Packet(data))
    [found] = Unpacker(encoding, 1).push(data)
    np.testing.assert_array_equal(found, frame.to_ndarray()[0] / 2.0**15)


@pytest.mark.parametrize("channels", [1, 2])
def test_bytes_may_be_cut_anywhere(channels: int) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (999, channels)).astype("<i2")
    data, unpacker = samples.tobytes(), Unpacker("s16le", channels)
    parts = [unpacker.push(data[start : start + 7]) for start in range(0, len(data), 7)]
    for number in range(channels):
        found = np.concatenate([part[number] for part in parts])
        np.testing.assert_array_equal(found, (samples[:, number] / 2.0**15).astype(np.float32))
