"""The timeline of the real Triton: borders of speech, scores, and early ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tritonclient.grpc as kserve
import tritonclient.http as kserve_http

from benchmarks.launch import wait_until
from emotion2vec_client import (
    AsyncClient,
    Client,
    InvalidAudioError,
    OverloadedError,
    PredictionTimeoutError,
)
from samples.make import encode
from server.triton import Triton
from tests.conftest import SAMPLES, recordings, speech_like
from tests.scenarios.conversation import SAMPLE_RATE, Conversation, build, music, noise

WITHIN = 0.25


@pytest.fixture(scope="module")
def http_url(triton: Triton) -> str:
    return f"http://127.0.0.1:{triton.settings.http_port}"


@pytest.fixture(scope="module")
def conversation(url: str) -> Conversation:
    """Three minutes of the project's recordings, separated by silence, noise and music."""
    with Client(url) as client:
        utterances = [client.decode(path).samples for path in recordings()]
    return build(utterances, seconds=180, seed=1)


@pytest.fixture(scope="module")
def mp3(conversation: Conversation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("call") / "call.mp3"
    encode(conversation.samples, SAMPLE_RATE, path, bits_per_channel=48_000)
    return path


def test_segments_begin_and_end_where_speech_does(
    client: Client, conversation: Conversation, mp3: Path
) -> None:
    found = client.timeline(mp3)
    borders = np.array([(segment.start, segment.end) for segment in found.segments])
    assert conversation.found(borders, WITHIN) >= 0.95
    assert conversation.right(borders, WITHIN) >= 0.95
    assert np.diff(borders).max() <= 10
    assert (borders[1:, 0] >= borders[:-1, 1]).all()
    assert found.duration == pytest.approx(180, abs=0.1)
    spoken = np.diff(conversation.utterances).sum() / 180
    assert found.speech_ratio == pytest.approx(spoken, abs=0.1)
    assert found.summary is not None
    assert sum(found.summary.scores.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"segmentation": "fixed", "window": 4.0, "hop": 2.5}])
def test_scores_are_those_of_predict_on_the_slice(
    client: Client, conversation: Conversation, options: dict
) -> None:
    samples = conversation.samples[: 90 * SAMPLE_RATE]
    found = client.timeline((samples, SAMPLE_RATE), embedding=True, **options)
    assert len(found.segments) > 10
    for segment in found.segments:
        start, end = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
        alone = client.predict((samples[start:end], SAMPLE_RATE), embedding=True)
        assert dict(segment.scores) == pytest.approx(dict(alone.scores), abs=1e-5)
        assert segment.embedding is not None and alone.embedding is not None
        np.testing.assert_allclose(segment.embedding, alone.embedding, rtol=1e-3, atol=1e-4)


def test_plain_kserve_over_both_protocols(url: str, http_url: str, client: Client) -> None:
    """Follows the docs for other clients."""
    truth = client.timeline(SAMPLES / "sad.mp3")
    data = np.array([[(SAMPLES / "sad.mp3").read_bytes()]], np.object_)
    for library, address in ((kserve, url), (kserve_http, http_url.removeprefix("http://"))):
        with library.InferenceServerClient(address) as raw:
            file = library.InferInput("audio", [1, 1], "BYTES")
            file.set_data_from_numpy(data)
            answer = raw.infer("emotion2vec_timeline", [file])
            segments = answer.as_numpy("segments")
            assert segments.shape == (1, len(truth.segments), 2)
            assert segments[0, 0, 1] == truth.segments[0].end
            assert answer.as_numpy("scores").shape == (1, len(truth.segments), 9)
            assert answer.as_numpy("embedding").shape == (1, len(truth.segments), 64)
            assert answer.as_numpy("progress") == 1
            windows = raw.infer(
                "emotion2vec_timeline",
                [file],
                parameters={"segmentation": "fixed", "window": 2, "hop": "1.5"},
            )
            starts = windows.as_numpy("segments")[0, :, 0]
            assert starts.tolist() == [0, 1.5, 3, 4.5]


def test_recordings_without_speech_have_no_segments(client: Client) -> None:
    random = np.random.default_rng(0)
    for samples in (
        np.zeros(5 * SAMPLE_RATE, np.float32),
        noise(20 * SAMPLE_RATE, 0.05, random),
        music(20 * SAMPLE_RATE, random),
        speech_like(SAMPLE_RATE // 10),
    ):
        found = client.timeline((samples, SAMPLE_RATE), embedding=True)
        assert (found.segments, found.speech_ratio, found.summary) == ((), 0, None)
        assert found.duration == len(samples) / SAMPLE_RATE


def test_a_tenth_of_a_second_is_one_window(client: Client) -> None:
    found = client.timeline((speech_like(SAMPLE_RATE // 10), SAMPLE_RATE), segmentation="fixed")
    assert [(segment.start, segment.end) for segment in found.segments] == [(0, 0.1)]


def test_what_cannot_be_used_is_refused_with_a_reason(client: Client, tmp_path: Path) -> None:
    flac = (SAMPLES / "angry.flac").read_bytes()
    refused: list[tuple[Any, str]] = [
        (b"", "empty"),
        (b"no audio " * 100, "not_audio"),
        (flac[: len(flac) // 2], "damaged"),
        ((np.zeros(300, np.float32), SAMPLE_RATE), "too_short"),
    ]
    for data, reason in refused:
        with pytest.raises(InvalidAudioError) as caught:
            client.timeline(data)
        assert caught.value.reason == reason
    with pytest.raises(InvalidAudioError, match=r"window is 40 s: use 0\.25 to 30") as caught:
        client.timeline(SAMPLES / "sad.mp3", segmentation="fixed", window=40)
    assert caught.value.reason == "bad_request"


def test_more_than_two_hours_are_too_long(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(121):
            file.write(np.zeros(60 * 8_000, np.float32))
    with pytest.raises(InvalidAudioError, match="the limit is 7200 s") as caught:
        client.timeline(path)
    assert caught.value.reason == "too_long"


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of audio: its windows keep the server busy for longer than any test takes."""
    path = tmp_path_factory.mktemp("hour") / "hour.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(60):
            file.write(np.zeros(60 * SAMPLE_RATE, np.float32))
    return path


BUSY: dict[str, Any] = {"segmentation": "fixed", "window": 30.0, "hop": 3.0}
WINDOWS = 3_600 / 3


@pytest.fixture(autouse=True)
def polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the client poll for progress more often than in normal use."""
    monkeypatch.setattr("emotion2vec_client._waiting.POLL_SECONDS", 0.05)


class Enough(Exception):
    """Raised by a progress callback that has seen enough."""


def leave(share: float) -> None:
    if share > 0:
        raise Enough


@pytest.fixture
def encoded(url: str) -> Iterator[Callable[[], int]]:
    """A function that counts the clips that the encoder has answered in this test."""
    with kserve.InferenceServerClient(url) as raw:

        def count() -> int:
            return raw.get_inference_statistics("encoder").model_stats[0].inference_count

        before = count()
        yield lambda: count() - before


def assert_given_up(url: str, encoded: Callable[[], int]) -> None:
    """Checks that the encoder answers only this function, and did not compute the whole hour."""
    asked = 0
    with Client(url) as client:

        def is_idle() -> bool:
            nonlocal asked
            before = encoded()
            # These clips are as long as the windows, so that they do not overtake them.
            for _ in range(4):
                client.predict((speech_like(30 * SAMPLE_RATE), SAMPLE_RATE))
            asked += 4
            # Triton counts a request a moment after it answers it.
            return encoded() - before <= 5

        wait_until(is_idle, "the encoder is idle")
    assert encoded() - asked < WINDOWS / 2


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_progress_rises_and_leaving_frees_the_server(
    protocol: str, url: str, http_url: str, hour: Path, encoded: Callable[[], int]
) -> None:
    shares: list[float] = []

    def watch(share: float) -> None:
        shares.append(share)
        if len([each for each in shares if each > 0]) == 3:
            raise Enough

    with Client(url if protocol == "grpc" else http_url) as client:
        with pytest.raises(Enough):
            client.timeline(hour, progress=watch, **BUSY)
        assert shares == sorted(shares)
        assert 0 < shares[-1] < 0.9
        assert_given_up(url, encoded)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_timeout_frees_the_server(
    protocol: str, url: str, http_url: str, hour: Path, encoded: Callable[[], int]
) -> None:
    with Client(url if protocol == "grpc" else http_url) as client:
        with pytest.raises(PredictionTimeoutError, match="in 2 s"):
            client.timeline(hour, timeout=2, **BUSY)
        assert_given_up(url, encoded)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_cancelling_a_task_frees_the_server(
    protocol: str, url: str, http_url: str, hour: Path, encoded: Callable[[], int]
) -> None:
    async def cancel_when_it_runs() -> None:
        running = asyncio.Event()
        async with AsyncClient(url if protocol == "grpc" else http_url) as client:
            task = asyncio.create_task(
                client.timeline(hour, progress=lambda part: running.set() if part else None, **BUSY)
            )
            await asyncio.wait_for(running.wait(), 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel_when_it_runs())
    assert_given_up(url, encoded)


def test_the_asynchronous_client_gives_the_same(client: Client, url: str, http_url: str) -> None:
    truth = client.timeline(SAMPLES / "story.ogg").to_dict()
    shares: list[float] = []

    async def ask(address: str) -> dict:
        async with AsyncClient(address) as other:
            found = await other.timeline(SAMPLES / "story.ogg", progress=shares.append)
            return found.to_dict()

    for address in (url, http_url):
        answer = asyncio.run(ask(address))
        assert answer["segments"] == truth["segments"]
    assert shares[-1] == 1


def test_two_recordings_go_on_at_once_and_short_requests_between(
    client: Client, hour: Path
) -> None:
    """Neither waits for the other to end; both are cancelled once both have begun."""
    begun, stop = threading.Barrier(3), threading.Event()

    def watch(share: float) -> None:
        if share > 0 and not begun.broken and not stop.is_set():
            begun.wait(60)
            stop.wait(60)
            raise Enough

    def run() -> None:
        with pytest.raises(Enough):
            client.timeline(hour, progress=watch, **BUSY)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    assert client.predict(SAMPLES / "happy.wav", timeout=10).emotion
    stop.set()
    for thread in threads:
        thread.join()


def test_a_full_queue_is_refused(url: str, hour: Path) -> None:
    """Ten recordings are accepted; the eleventh is refused for now."""
    data = hour.read_bytes()
    results: list[BaseException] = []
    refused = threading.Event()

    def watch(share: float) -> None:
        if refused.is_set():
            raise Enough

    def run(client: Client) -> None:
        try:
            client.timeline(data, progress=watch, **BUSY)
        except (Enough, OverloadedError) as error:
            results.append(error)
            refused.set()

    with Client(url, retry_seconds=0.1) as client:
        threads = [threading.Thread(target=run, args=[client]) for _ in range(11)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kinds = sorted(type(error).__name__ for error in results)
    assert kinds == ["Enough"] * 10 + ["OverloadedError"]
    assert any("too much to do" in str(error) for error in results)
