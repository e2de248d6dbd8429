"""Streams through the gateway, against the timeline of the same audio and `predict`."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from livekit import rtc
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from benchmarks.launch import SAMPLES, wait_until
from emotion2vec_client import (
    AccessDeniedError,
    AsyncClient,
    Client,
    Emotion2VecError,
    Measurement,
    ServerUnavailableError,
    SpeechEnded,
    SpeechStarted,
    Timeline,
)
from emotion2vec_client.analysis import Policy
from tests.conftest import ROOT
from tests.fuzz.limits import LIMITS
from tests.integration.gateways import Gateway

TOLERANCE = 1e-5
SUBTYPES = {"s16le": "PCM_16", "mulaw": "ULAW", "alaw": "ALAW"}


@pytest.fixture(scope="module")
def story() -> np.ndarray:
    """A recording with pauses, float32 [n] at 16 kHz."""
    return decode((SAMPLES / "story.ogg").read_bytes(), LIMITS).samples


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    return soxr.resample(samples, SAMPLE_RATE, rate)


def encoded(path: Path, samples: np.ndarray, rate: int, encoding: str) -> bytes:
    """Writes samples, [n] or [n, channels], as a file; returns its bytes without the header."""
    soundfile.write(path, samples, rate, subtype=SUBTYPES[encoding], format="WAV")
    raw = path.with_suffix(".raw")
    soundfile.write(raw, samples, rate, subtype=SUBTYPES[encoding], format="RAW", endian="LITTLE")
    return raw.read_bytes()


def streamed(
    client: Client, gateway: Gateway, data: bytes, size: int, **options: Any
) -> list[Measurement]:
    """All measurements of bytes that are sent in frames of one size."""
    with client.stream(gateway=gateway.url, **options) as stream:
        sender = threading.Thread(target=_send, args=(stream, data, size))
        sender.start()
        found = list(stream)
        sender.join()
    assert stream.totals.reason == "closed"
    assert stream.totals.final == sum(each.kind == "final" for each in found)
    return found


def _send(stream: Any, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        stream.send(data[start : start + size])
    stream.finish()


def assert_same(measurements: list[Measurement], timeline: Timeline) -> None:
    """Final measurements are the segments of a timeline."""
    finals = [each for each in measurements if each.kind == "final"]
    assert [(each.start, each.end) for each in finals] == [
        (segment.start, segment.end) for segment in timeline.segments
    ]
    for final, segment in zip(finals, timeline.segments, strict=True):
        assert final.unwrap().scores == pytest.approx(segment.scores, abs=TOLERANCE)
        assert final.speech == pytest.approx(segment.speech, abs=1e-3)


@pytest.mark.parametrize(
    ("encoding", "rate", "milliseconds"),
    [
        ("s16le", 16_000, 20),
        ("s16le", 44_100, 100),
        ("s16le", 48_000, 977),
        ("mulaw", 8_000, 20),
        ("alaw", 8_000, 977),
    ],
)
def test_a_stream_gives_the_timeline_of_the_file(
    encoding: str,
    rate: int,
    milliseconds: int,
    story: np.ndarray,
    client: Client,
    gateway: Gateway,
    tmp_path: Path,
) -> None:
    path = tmp_path / "story.wav"
    data = encoded(path, resampled(story, rate), rate, encoding)
    # An odd number of bytes cuts 16-bit samples.
    size = rate * (2 if encoding == "s16le" else 1) * milliseconds // 1000 + 1
    found = streamed(client, gateway, data, size, rate=rate, encoding=encoding)
    timeline = client.timeline(path)
    assert len(timeline.segments) > 1
    assert_same(found, timeline)


def test_every_measurement_is_what_predict_gives_for_its_samples(
    story: np.ndarray, client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "story.wav"
    data = encoded(path, story, SAMPLE_RATE, "s16le")
    heard = decode(path.read_bytes(), LIMITS).samples
    found = []
    with client.stream(gateway=gateway.url, interval=0.5, granularity="frame") as stream:
        # A second of speech, and nothing that could come before its interim measurement.
        stream.send(data[: 2 * SAMPLE_RATE])
        measurements = iter(stream)
        found.append(next(measurements))
        assert found[0].kind == "interim"
        stream.send(data[2 * SAMPLE_RATE :])
        stream.finish()
        found += measurements
    assert {each.kind for each in found} == {"interim", "final"}
    for each in found:
        start, end = round(each.start * SAMPLE_RATE), round(each.end * SAMPLE_RATE)
        truth = client.predict((heard[start:end], SAMPLE_RATE), granularity="frame")
        prediction = each.unwrap()
        assert prediction.scores == pytest.approx(truth.scores, abs=TOLERANCE)
        np.testing.assert_allclose(prediction.frames.scores, truth.frames.scores, atol=TOLERANCE)
        assert prediction.duration == pytest.approx(each.end - each.start)


def test_mixed_channels_are_heard_as_those_of_a_file(
    story: np.ndarray, client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "stereo.wav"
    both = np.stack([story, 0.3 * np.roll(story, 800)], axis=1)
    data = encoded(path, both, SAMPLE_RATE, "s16le")
    found = streamed(client, gateway, data, 4001, channels=2, mixed=True)
    assert {each.channel for each in found} == {0}
    assert_same(found, client.timeline(path))


def test_each_channel_is_a_speaker(
    story: np.ndarray, client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    """One speaks while the other is silent, and both at once in the middle."""
    quiet = np.zeros(4 * SAMPLE_RATE, np.float32)
    channels = [np.concatenate([story, quiet]), np.concatenate([quiet, story])]
    data = encoded(tmp_path / "both.wav", np.stack(channels, axis=1), SAMPLE_RATE, "s16le")
    found = streamed(client, gateway, data, 4001, channels=2)
    for number, samples in enumerate(channels):
        path = tmp_path / f"{number}.wav"
        encoded(path, samples, SAMPLE_RATE, "s16le")
        assert_same([each for each in found if each.channel == number], client.timeline(path))


def test_speech_starts_and_ends_around_its_measurement(
    story: np.ndarray, url: str, gateway: Gateway
) -> None:
    async def run() -> list[Any]:
        async with (
            AsyncClient(url, policy=Policy(merge={"bad": ("angry", "sad")})) as client,
            client.stream(gateway=gateway.url, interval=0) as stream,
        ):
            for start in range(0, len(story), 1600):
                await stream.send(story[start : start + 1600])
            await stream.finish()
            return [event async for event in stream.events()]

    events = asyncio.run(run())
    assert isinstance(events[0], SpeechStarted)
    finals = [event for event in events if isinstance(event, Measurement)]
    starts = [event.start for event in events if isinstance(event, SpeechStarted)]
    ends = [event.end for event in events if isinstance(event, SpeechEnded)]
    assert len(starts) == len(ends) >= 1
    assert starts[0] == finals[0].start
    assert ends[-1] == finals[-1].end
    assert "bad" in finals[0].unwrap().policy.scores


def test_the_recipe_for_livekit(
    story: np.ndarray,
    client: Client,
    url: str,
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With LiveKit's own frames, which hold what its audio streams yield."""
    path = tmp_path / "story.wav"
    data = encoded(path, story, SAMPLE_RATE, "s16le")
    text = (ROOT / "docs" / "stream.md").read_text("utf-8")
    [recipe] = [
        block
        for block in re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        if "livekit" in block
    ]
    names: dict[str, Any] = {}
    exec(recipe, names)

    async def track() -> AsyncIterator[rtc.AudioFrameEvent]:
        for start in range(0, len(data), 640):
            part = data[start : start + 640]
            yield rtc.AudioFrameEvent(rtc.AudioFrame(part, SAMPLE_RATE, 1, len(part) // 2))

    async def run() -> list[Measurement]:
        async with AsyncClient(url) as own:
            gated = partial(own.stream, gateway=gateway.url)
            monkeypatch.setattr(own, "stream", gated)
            return [measurement async for measurement in names["emotions"](track(), own)]

    assert_same(asyncio.run(run()), client.timeline(path))


@contextmanager
def opened(gateway: Gateway, **options: Any) -> Iterator[ClientConnection]:
    """A plain connection, past its first message."""
    url = gateway.url.replace("http", "ws") + "/api/stream/"
    with connect(url, compression=None, **options) as connection:
        assert json.loads(connection.recv())["type"] == "session.created"
        yield connection


def ask(connection: ClientConnection, message: Any) -> dict:
    connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return json.loads(connection.recv())


def update(**session: Any) -> dict:
    return {"type": "session.update", "session": session}


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        ("hello", "bad_request", "JSON"),
        ({"type": "session.start"}, "bad_request", "session.update"),
        (update(rate=7999), "bad_request", "session.rate: .*8000"),
        (update(interval=0.1), "bad_request", "interval is 0.1 s: use 0, or 0.5 to 30"),
        (update(speed=2), "bad_request", "session.speed"),
        (update(policy={"floor": 1}), "bad_request", "is not a policy"),
        (update(input_audio_format=[]), "bad_request", "use pcm16, g711_ulaw"),
        (update(input_audio_format="opus"), "bad_request", "'opus': use pcm16, g711_ulaw"),
        ({"type": "input_audio_buffer.append", "audio": "%"}, "bad_request", "base64"),
        (b"\0" * (2**20 + 1), "too_large", "more than 1024 KiB"),
    ],
)
def test_a_message_that_cannot_be_used_is_answered_and_the_stream_goes_on(
    message: Any, code: str, sentence: str, gateway: Gateway
) -> None:
    with opened(gateway) as connection:
        answer = ask(connection, message)
        assert (answer["type"], answer["code"]) == ("error", code)
        assert re.search(sentence, answer["detail"])
        assert ask(connection, update(rate=8000))["type"] == "session.updated"


def test_the_format_cannot_change_after_audio(gateway: Gateway) -> None:
    with opened(gateway) as connection:
        connection.send(bytes(640))
        answer = ask(connection, update(rate=8000))
        assert answer["code"] == "bad_option"
        closed = ask(connection, {"type": "session.close"})
        assert (closed["type"], closed["duration"]) == ("session.closed", 0.02)
        with pytest.raises(ConnectionClosed):
            connection.recv()
        assert connection.close_code == 1000


def test_a_hundred_errors_end_a_stream(gateway: Gateway) -> None:
    with opened(gateway) as connection:
        for _ in range(100):
            assert ask(connection, "{}")["type"] == "error"
        assert json.loads(connection.recv())["reason"] == "too_many_errors"


def test_audio_as_openai_s_clients_send_it(
    story: np.ndarray, client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "story.wav"
    data = encoded(path, resampled(story, 24_000), 24_000, "s16le")
    with opened(gateway) as connection:
        session = ask(connection, update(input_audio_format="pcm16", interval=0))["session"]
        assert (session["encoding"], session["rate"]) == ("s16le", 24_000)
        for start in range(0, len(data), 4800):
            text = base64.b64encode(data[start : start + 4800]).decode()
            message = {"type": "input_audio_buffer.append", "audio": text, "event_id": "e1"}
            connection.send(json.dumps(message))
        connection.send(json.dumps({"type": "session.close"}))
        events = [json.loads(message) for message in connection]
    finals = [event for event in events if event["type"] == "measurement"]
    timeline = client.timeline(path)
    assert [(each["start"], each["end"]) for each in finals] == [
        (1000 * segment.start, 1000 * segment.end) for segment in timeline.segments
    ]
    assert finals[0]["result"]["model"]


def metric(gateway: Gateway, name: str) -> float:
    lines = gateway.http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_client_that_vanishes_leaves_nothing(story: np.ndarray, gateway: Gateway) -> None:
    wait_until(lambda: metric(gateway, "emotion2vec_streams ") == 0, "no other stream is left")
    with opened(gateway) as connection:
        connection.send((story * 2**15).astype("<i2").tobytes())
        assert json.loads(connection.recv())["type"] == "speech.started"
        assert metric(gateway, "emotion2vec_streams ") == 1
        connection.socket.close()
    wait_until(lambda: metric(gateway, "emotion2vec_streams ") == 0, "the stream is gone")


def test_a_stream_needs_a_key(url: str, tmp_path: Path) -> None:
    with Gateway(url, tmp_path, E2V_API_KEYS="secret") as protected:
        with (
            Client(url) as client,
            pytest.raises(AccessDeniedError, match="needs an API key"),
            client.stream(gateway=protected.url),
        ):
            pass
        with Client(url, api_key="secret") as client:
            with client.stream(gateway=protected.url) as stream:
                stream.finish()
                assert list(stream) == []
            with (
                pytest.raises(Emotion2VecError, match=r"interval is 0\.1 s"),
                client.stream(gateway=protected.url, interval=0.1),
            ):
                pass
        wait_until(lambda: metric_with(protected, "secret") == 0, "no stream is left")
        assert "ERROR" not in protected.said


def metric_with(gateway: Gateway, key: str) -> float:
    answer = gateway.http.get("/metrics", headers={"X-API-Key": key})
    [line] = [x for x in answer.text.splitlines() if x.startswith("emotion2vec_streams ")]
    return float(line.split()[1])


def test_a_gateway_that_stops_sends_what_it_has_heard(
    story: np.ndarray, url: str, client: Client, tmp_path: Path
) -> None:
    half = (story[: 6 * SAMPLE_RATE] * 2**15).astype("<i2").tobytes()
    with Gateway(url, tmp_path) as stopping, opened(stopping) as connection:
        connection.send(half)
        # Messages are answered in their order: what was sent before has been heard.
        connection.send("{}")
        while json.loads(connection.recv())["type"] != "error":
            pass
        stopping.process.terminate()
        events = [json.loads(message) for message in connection]
        assert connection.close_code == 1001
    assert events[-1]["type"] == "session.closed"
    assert events[-1]["reason"] == "stopping"
    assert [event for event in events if event.get("kind") == "final"]


def test_a_gateway_that_does_not_answer_is_named(url: str, gateway: Gateway) -> None:
    with Client(url) as client:
        with (
            pytest.raises(ServerUnavailableError, match="no gateway answers at http://127"),
            client.stream(gateway="http://127.0.0.1:1"),
        ):
            pass
        with pytest.raises(ValueError, match="http:// or https://"):
            client.stream(gateway="localhost:8001")
    assert httpx.get(f"{gateway.url}/health").is_success
