"""The client library's promises: transports, arrays, many files, and servers that restart."""

from __future__ import annotations

import asyncio
import doctest
import gc
import importlib
import io
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.launch import PATIENCE
from emotion2vec_client import (
    AsyncClient,
    Client,
    InvalidAudioError,
    Prediction,
    ServerUnavailableError,
)
from server.triton import Triton
from tests.conftest import SAMPLES, recordings, settings_for, speech_like
from tests.integration.gateways import Gateway

HAPPY = SAMPLES / "happy.wav"


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def assert_same(one: Prediction, other: Prediction) -> None:
    assert list(one.scores.items()) == list(other.scores.items())
    assert one.duration == other.duration
    np.testing.assert_equal(one.embedding, other.embedding)
    if one.frames is not None:
        np.testing.assert_array_equal(one.frames.scores, other.frames.scores)
        np.testing.assert_equal(one.frames.embedding, other.frames.embedding)
        np.testing.assert_array_equal(one.frames.times, other.frames.times)


@pytest.fixture
def http_url(triton: Triton) -> str:
    return f"http://127.0.0.1:{triton.settings.http_port}"


@pytest.fixture(params=["grpc", "http"])
def any_url(request: pytest.FixtureRequest, url: str, http_url: str) -> str:
    return url if request.param == "grpc" else http_url


@pytest.mark.parametrize("name", ["happy.wav", "sad.mp3", "fearful.m4a"])
def test_decode_gives_what_the_model_hears(any_url: str, name: str) -> None:
    with Client(any_url) as client:
        heard = client.decode(SAMPLES / name)
        direct = client.predict(SAMPLES / name, granularity="frame", embedding=True)
        for same in (heard, (heard.samples, 16_000), heard.wav_bytes()):
            assert_same(client.predict(same, granularity="frame", embedding=True), direct)
    assert heard.duration == direct.duration
    assert heard.source_rate == 44_100
    samples, rate = soundfile.read(io.BytesIO(heard.wav_bytes()), dtype="float32")
    assert rate == 16_000
    np.testing.assert_array_equal(samples, heard.samples)

    async def decode() -> np.ndarray:
        async with AsyncClient(any_url) as asynchronous:
            return (await asynchronous.decode(SAMPLES / name)).samples

    np.testing.assert_array_equal(asyncio.run(decode()), heard.samples)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"words", "not_audio"), (wav(np.zeros(160)), "too_short")],
)
@pytest.mark.parametrize("call", ["predict", "decode"])
def test_refused_audio_has_a_reason_beside_its_sentence(
    any_url: str, call: str, data: bytes, reason: str
) -> None:
    with Client(any_url) as client, pytest.raises(InvalidAudioError) as refused:
        getattr(client, call)(data)
    assert refused.value.reason == reason
    assert f"{reason}: " not in str(refused.value)


def test_grpc_and_http_give_identical_arrays(url: str, http_url: str) -> None:
    with Client(url) as grpc, Client(http_url) as http:
        for granularity in ("utterance", "frame"):
            answers = [
                each.predict(HAPPY, granularity=granularity, embedding=True)
                for each in (grpc, http)
            ]
            assert_same(*answers)
        assert grpc.model_info() == http.model_info()


def test_async_with_64_in_flight_gives_the_same(url: str, http_url: str, client: Client) -> None:
    clips = [wav(speech_like(1_000 + 200 * i, seed=i)) for i in range(64)]
    expected = [client.predict(clip) for clip in clips]

    async def ask(address: str) -> list[Prediction]:
        async with AsyncClient(address) as asynchronous:
            await asynchronous.wait_until_ready(10)
            one_by_one = asyncio.gather(*(asynchronous.predict(clip) for clip in clips[:8]))
            many = [o async for o in asynchronous.predict_many(clips, concurrency=64)]
            for outcome, answer in zip(many[:8], await one_by_one, strict=True):
                assert list(outcome.unwrap().scores) == list(answer.scores)
            return [outcome.unwrap() for outcome in many]

    for address in (url, http_url):
        for answer, truth in zip(asyncio.run(ask(address)), expected, strict=True):
            np.testing.assert_allclose(
                list(answer.scores.values()), list(truth.scores.values()), atol=1e-6
            )


def test_the_duration_is_the_clips(client: Client) -> None:
    assert client.predict(wav(speech_like(20_000))).duration == 20_000 / 16_000


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x,
        lambda x: x.astype(np.float64),
        lambda x: np.stack([x, x], axis=1),
        lambda x: np.stack([x, x, x]),
        lambda x: x[:, np.newaxis],
        lambda x: np.asfortranarray(np.stack([x, x], axis=1)),
        lambda x: x[::-1][::-1],
    ],
    ids=["float32", "float64", "[n, 2]", "[3, n]", "[n, 1]", "fortran", "reversed view"],
)
def test_samples_are_sent_without_loss(
    client: Client, convert: Callable[[np.ndarray], np.ndarray]
) -> None:
    clip = speech_like(16_000)
    answer = client.predict((convert(clip), 16_000))
    # The mean of three equal channels may have a rounding error.
    assert answer.scores == pytest.approx(client.predict(wav(clip)).scores, abs=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_are_taken_over_their_whole_range(client: Client, dtype: str) -> None:
    clip = speech_like(16_000)
    info = np.iinfo(dtype)
    scaled = np.round(clip.astype(np.float64) * (info.max - info.min) / 2)
    middle = (info.max + info.min + 1) // 2
    samples = np.clip(scaled + middle, info.min, info.max).astype(dtype)
    answer = client.predict((samples, 16_000))
    exact = client.predict(wav(clip))
    close = 0.05 if dtype in ("int8", "uint8") else 1e-3
    for name, score in answer.scores.items():
        assert score == pytest.approx(exact.scores[name], abs=close)


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.zeros(16_000, np.int64), 16_000, "full scale is not known"),
        (np.zeros((20, 20, 20)), 16_000, r"shape \(20, 20, 20\)"),
        (np.zeros((100, 16_000)), 16_000, "up to 8 channels"),
        (np.zeros(16_000), 0, "positive number of Hz"),
        (np.zeros(16_000), 44_100.5, "whole number of Hz"),
    ],
)
def test_samples_without_a_clear_meaning_are_refused(
    client: Client, samples: np.ndarray, rate: Any, reason: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        client.predict((samples, rate))


def test_save_writes_result_and_embedding(client: Client, tmp_path: Path) -> None:
    client.predict(HAPPY, embedding=True).save(tmp_path / "utterance")
    client.predict(HAPPY, embedding=True, granularity="frame").save(tmp_path / "frame")
    assert '"emotion"' in (tmp_path / "utterance" / "result.json").read_text("utf-8")
    assert np.load(tmp_path / "utterance" / "embedding.npy").shape == (64,)
    assert np.load(tmp_path / "frame" / "embedding.npy").ndim == 2
    client.predict(HAPPY).save(tmp_path / "plain")
    assert not (tmp_path / "plain" / "embedding.npy").exists()


def test_many_keeps_the_order_and_yields_errors_beside_their_items(
    any_url: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.wav"
    few = recordings()[:3]
    items: list[Any] = [*few, b"no audio at all " * 50, missing, 42, *few]
    with Client(any_url) as client:
        outcomes = list(client.predict_many(items, concurrency=4))
        loose = list(client.predict_many(items, concurrency=4, ordered=False))
    assert [outcome.item for outcome in outcomes] == items
    errors = [type(outcome.error) for outcome in outcomes if outcome.error]
    assert errors == [InvalidAudioError, FileNotFoundError, TypeError]
    with pytest.raises(FileNotFoundError):
        next(outcome for outcome in outcomes if outcome.item is missing).unwrap()
    assert sorted(map(str, (o.item for o in loose))) == sorted(map(str, items))


def test_many_takes_items_only_as_there_is_room(client: Client) -> None:
    taken = 0
    data = HAPPY.read_bytes()

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield data

    outcomes: Any = client.predict_many(endless(), concurrency=4)
    for _ in range(10):
        assert next(outcomes).prediction
    outcomes.close()
    assert taken <= 10 + 4 * 9


def test_many_checks_its_options_before_the_first_item(client: Client) -> None:
    for options in ({"granularity": "word"}, {"concurrency": 0}, {"timeout": -1}):
        with pytest.raises(ValueError, match=r"word|concurrency is 0|timeout is -1"):
            client.predict_many([HAPPY], **options)


def test_the_memory_of_many_does_not_grow(client: Client) -> None:
    outcomes: Any = client.predict_many(repeat(wav(speech_like(400))), concurrency=4)

    def held_after(count: int) -> int:
        for _ in range(count):
            assert next(outcomes).prediction
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = held_after(50)
        grown = held_after(150) - before
    finally:
        tracemalloc.stop()
        outcomes.close()
    # A single prediction has more than a thousand bytes.
    assert grown < 150 * 500


def test_many_survives_a_server_that_is_killed_and_restarted(tiny_repository: Path) -> None:
    settings = settings_for(tiny_repository)
    clips = [wav(speech_like(4_000 + 10 * i, seed=i)) for i in range(150)]
    first = Triton(settings)
    first.__enter__()
    try:
        first.wait_until_ready(PATIENCE)
        with Client(f"127.0.0.1:{settings.grpc_port}") as client:
            alone = client.predict(clips[-1])
            outcomes = client.predict_many(clips, concurrency=16)
            answered = [next(outcomes) for _ in range(30)]
            first.kill()
            with Triton(settings) as second:
                answered += outcomes
                second.kill()
    finally:
        first.stop()
    assert [outcome.item for outcome in answered] == clips
    assert [outcome.error for outcome in answered if outcome.error] == []
    assert answered[-1].unwrap().scores == pytest.approx(alone.scores, abs=1e-6)


def test_many_gives_up_on_a_server_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec_client._client.OUTAGE_SECONDS", 1.0)
    with Client("127.0.0.1:9") as client:
        outcomes = list(client.predict_many([HAPPY] * 200, concurrency=8))
    assert all(isinstance(outcome.error, ServerUnavailableError) for outcome in outcomes)


@pytest.mark.parametrize(
    "address",
    ["", "ftp://host", "http://host/path", "host:port", "grpc://:8001"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"^url is"):
        Client(address)


def test_keys_are_sent_and_never_shown() -> None:
    with Client("http://127.0.0.1:9", api_key="s3cret", retry_seconds=0) as client:
        assert "s3cret" not in repr(client)
        assert "s3cret" not in repr(vars(client))
        with pytest.raises(ServerUnavailableError) as caught:
            client.predict(HAPPY)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("module", ["_client", "_async_client"])
def test_the_examples_of_the_docstrings_run(
    url: str, gateway: Gateway, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run unchanged, except for the ports."""
    monkeypatch.chdir(SAMPLES)
    monkeypatch.setattr("emotion2vec_client._base.GATEWAY_PORT", gateway.port)
    here = {
        "Client": lambda _: Client(url),
        "AsyncClient": lambda _: AsyncClient(url),
    }
    imported = importlib.import_module(f"emotion2vec_client.{module}")
    failed, attempted = doctest.testmod(imported, extraglobs=here)
    assert attempted
    assert not failed
