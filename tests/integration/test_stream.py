"""Streams through the gateway, against the timeline of the same audio and `predict`."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from emotion2vec_client import (
    AsyncClient,
    Client,
    Measurement,
    SpeechEnded,
    SpeechStarted,
    Timeline,
)
from emotion2vec_client.analysis import Policy
from tests.conftest import ROOT
from tests.fuzz.limits import LIMITS
from tests.integration.gateways import Gateway
from tests.integration.streams import ask, encoded, opened, resampled, update

TOLERANCE = 1e-5


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
