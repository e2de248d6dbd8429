"""What a connection takes, what it refuses, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from audio.layout import SAMPLE_RATE
from benchmarks.launch import wait_until
from emotion2vec_client import (
    AccessDeniedError,
    Client,
    Emotion2VecError,
    ServerUnavailableError,
)
from tests.integration.gateways import Gateway
from tests.integration.streams import ask, metric, opened, update


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
