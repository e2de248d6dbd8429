"""How the timeline's model processes a recording, with a fake encoder."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from audio.decoding import Decoded, decode, join
from audio.limits import AudioError
from audio.options import Options
from audio.recording import AHEAD, Answer, BusyError, Cancelled, Encoder, Recording
from audio.sandbox import Decoder
from audio.speech import HELD_SECONDS, Tape
from benchmarks.launch import wait_until
from emotion2vec_client._timeline import PEAK_HOP
from tests.conftest import SAMPLES, speech_like
from tests.fuzz.limits import LIMITS

WINDOWS = Options(segmentation="fixed", window=1.0, hop=1.0)
SECOND = 16_000


def blocks(samples: np.ndarray, size: int = 5_000) -> Generator[Decoded, None, None]:
    """Yields samples in blocks, as a decoder does."""
    for start in range(0, len(samples), size):
        end = min(start + size, len(samples))
        yield Decoded(samples[start:end], 44_100, end / len(samples))


def mean(samples: np.ndarray, embedding: bool) -> Answer:
    """An encoder whose answer depends on its samples."""
    return Answer(np.full(9, samples.mean()), samples[:4] if embedding else None)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_each_segment_is_answered_for_its_own_samples(pool: ThreadPoolExecutor) -> None:
    samples = speech_like(int(30.5 * SECOND))
    recording = Recording(WINDOWS, True, lambda: False)
    recording.run(blocks(samples), Encoder(mean, pool, 10))
    assert len(recording.segments) == 31
    for number, segment in enumerate(recording.segments):
        heard = samples[number * SECOND : (number + 1) * SECOND]
        np.testing.assert_equal(segment.answer.embedding, heard[:4])
        assert segment.answer.scores[0] == heard.mean()
    assert recording.duration == 30.5
    hop = round(PEAK_HOP * SECOND)
    loudest = [np.abs(samples[at : at + hop]).max() for at in range(0, len(samples), hop)]
    np.testing.assert_array_equal(recording.peaks, loudest)
    assert recording.progress == 1


def test_no_more_is_on_its_way_than_is_allowed(pool: ThreadPoolExecutor) -> None:
    lock = threading.Lock()
    on_its_way: list[int] = []
    most = 0

    def watched(samples: np.ndarray, embedding: bool) -> Answer:
        nonlocal most
        with lock:
            on_its_way.append(len(samples))
            most = max(most, sum(on_its_way))
        answer = mean(samples, embedding)
        with lock:
            on_its_way.remove(len(samples))
        return answer

    encoder = Encoder(watched, pool, 2.5)
    both = [Recording(WINDOWS, False, lambda: False) for _ in range(2)]
    with ThreadPoolExecutor(2) as workers:
        work = [
            workers.submit(each.run, blocks(speech_like(10 * SECOND)), encoder) for each in both
        ]
        for each in work:
            each.result()
    assert 0 < most <= 2.5 * SECOND


def test_a_piece_longer_than_is_allowed_goes_alone(pool: ThreadPoolExecutor) -> None:
    recording = Recording(WINDOWS, False, lambda: False)
    recording.run(blocks(speech_like(3 * SECOND)), Encoder(mean, pool, 0.5))
    assert len(recording.segments) == 3


def test_progress_is_what_is_answered(pool: ThreadPoolExecutor) -> None:
    """While the second piece has no answer, only the first counts."""
    release, asked = threading.Event(), threading.Event()

    def held_back(samples: np.ndarray, embedding: bool) -> Answer:
        if samples[0] == 2:
            asked.set()
            assert release.wait(30)
        return mean(samples, embedding)

    samples = np.repeat(np.array([1, 2, 3, 4], np.float32), SECOND)
    recording = Recording(WINDOWS, False, lambda: False)
    assert recording.progress == 0
    with ThreadPoolExecutor(1) as worker:
        work = worker.submit(recording.run, blocks(samples, SECOND), Encoder(held_back, pool, 1))
        assert asked.wait(30)
        wait_until(
            lambda: (recording.duration == 4 and bool(recording.segments)) or work.done(),
            "one is answered",
        )
        assert recording.progress == pytest.approx(1 / 4)
        assert len(recording.segments) == 1
        release.set()
        work.result()
    assert recording.progress == 1


def test_it_reads_ahead_of_the_encoder_but_not_far(pool: ThreadPoolExecutor) -> None:
    release = threading.Event()

    def stuck(samples: np.ndarray, embedding: bool) -> Answer:
        assert release.wait(30)
        return mean(samples, embedding)

    recording = Recording(WINDOWS, False, lambda: False)
    with ThreadPoolExecutor(1) as worker:
        source = blocks(speech_like(30 * SECOND))
        work = worker.submit(recording.run, source, Encoder(stuck, pool, 2))
        wait_until(lambda: recording.duration >= AHEAD or work.done(), "it has read ahead")
        with pytest.raises(TimeoutError):
            work.result(0.5)
        assert recording.duration <= AHEAD + 2
        release.set()
        work.result()
    assert len(recording.segments) == 30


@pytest.mark.parametrize("how", ["from outside", "by the one who asked"])
def test_a_cancelled_recording_stops_while_it_waits(how: str, pool: ThreadPoolExecutor) -> None:
    release, asked, gone = threading.Event(), threading.Event(), threading.Event()

    def stuck(samples: np.ndarray, embedding: bool) -> Answer:
        asked.set()
        assert release.wait(30)
        return mean(samples, embedding)

    recording = Recording(WINDOWS, False, gone.is_set)
    source = blocks(speech_like(60 * SECOND))
    with ThreadPoolExecutor(1) as worker:
        work = worker.submit(recording.run, source, Encoder(stuck, pool, 2))
        assert asked.wait(30)
        (recording.cancelled if how == "from outside" else gone).set()
        with pytest.raises(Cancelled):
            work.result(30)
        # Closing the generator closes the decoder.
        assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED
        release.set()


def test_a_busy_encoder_is_retried_until_the_client_has_gone(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio.recording.BUSY_SECONDS", 0.01)
    refusals = iter([True, True, False, True, False])

    def busy(samples: np.ndarray, embedding: bool) -> Answer:
        if next(refusals):
            raise BusyError
        return mean(samples, embedding)

    recording = Recording(WINDOWS, False, lambda: False)
    recording.run(blocks(speech_like(2 * SECOND)), Encoder(busy, pool, 1))
    assert len(recording.segments) == 2

    def always_busy(samples: np.ndarray, embedding: bool) -> Answer:
        recording.cancelled.set()
        raise BusyError

    recording = Recording(WINDOWS, False, lambda: False)
    with pytest.raises(Cancelled):
        recording.run(blocks(speech_like(2 * SECOND)), Encoder(always_busy, pool, 1))


def test_an_error_of_the_encoder_ends_the_work(pool: ThreadPoolExecutor) -> None:
    def failing(samples: np.ndarray, embedding: bool) -> Answer:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        Recording(WINDOWS, False, lambda: False).run(
            blocks(speech_like(5 * SECOND)), Encoder(failing, pool, 10)
        )


def test_the_tape_holds_the_last_seconds_and_says_when_asked_for_more() -> None:
    samples = speech_like((HELD_SECONDS + 20) * SECOND)
    tape = Tape()
    parts = [tape.push(samples[:1000]), tape.push(samples[1000:]), tape.finish()]
    assert sum(chunk.samples for part in parts for chunk in part) == len(samples)
    np.testing.assert_array_equal(
        tape.cut(21 * SECOND, 60 * SECOND), samples[21 * SECOND : 60 * SECOND]
    )
    with pytest.raises(IndexError, match="not kept"):
        tape.cut(19 * SECOND, 22 * SECOND)


def test_a_file_decoded_in_blocks_is_the_file_decoded_at_once() -> None:
    data = (SAMPLES / "story.ogg").read_bytes()
    decoder = Decoder(LIMITS)
    found = list(decoder.stream(data))
    decoder.close()
    assert len(found) > 5
    np.testing.assert_array_equal(join(found).samples, decode(data, LIMITS).samples)
    assert [block.position for block in found] == sorted(block.position for block in found)
    assert found[len(found) // 2].position == pytest.approx(0.5, abs=0.2)


def test_a_decoder_that_is_no_longer_listened_to_stops_and_starts_anew() -> None:
    data = (SAMPLES / "story.ogg").read_bytes()
    decoder = Decoder(LIMITS)
    process = decoder.process
    source = decoder.stream(data)
    next(source)
    source.close()
    assert not process.exists()
    assert len(decoder.decode(data).samples) > 12 * SECOND
    decoder.close()


def test_blocks_come_before_the_error_of_a_damaged_file() -> None:
    data = (SAMPLES / "angry.flac").read_bytes()
    decoder = Decoder(LIMITS)
    source = decoder.stream(data[: len(data) * 3 // 4])
    assert len(next(source).samples)
    with pytest.raises(AudioError, match="damaged or truncated"):
        list(source)
    decoder.close()
