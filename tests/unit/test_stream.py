"""The limits of streams, without Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from gateway.app import create_app
from gateway.settings import Settings
from gateway.stream.messages import read

PATH = "/api/stream/"


def visitor(tmp_path: Path, **settings: Any) -> TestClient:
    return TestClient(create_app(Settings(outputs=tmp_path, **settings)))


def test_one_stream_too_many_is_refused(tmp_path: Path) -> None:
    client = visitor(tmp_path, max_streams=1)
    with client.websocket_connect(PATH) as first:
        assert first.receive_json()["type"] == "session.created"
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(PATH):
            pass
        assert refused.value.status_code == 429
        assert "1 streams are open" in refused.value.json()["detail"]
    with client.websocket_connect(PATH) as next_one:
        assert next_one.receive_json()["type"] == "session.created"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"stream_idle": 0.05}, "idle"), ({"stream_seconds": 0.05}, "too_long")],
)
def test_a_stream_ends_at_its_limit(settings: dict, reason: str, tmp_path: Path) -> None:
    with visitor(tmp_path, **settings).websocket_connect(PATH) as stream:
        assert stream.receive_json()["type"] == "session.created"
        assert stream.receive_json()["reason"] == reason
        assert stream.receive()["code"] == 1008


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://"])
def test_pages_of_others_are_refused(origin: str, tmp_path: Path) -> None:
    client = visitor(tmp_path)
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(PATH, headers={"Origin": origin}),
    ):
        pass
    assert refused.value.status_code == 403
    assert "E2V_CORS_ORIGINS" in refused.value.json()["detail"]


@pytest.mark.parametrize("origin", ["http://testserver", "https://app.example"])
def test_own_pages_and_allowed_ones_may_open_a_stream(origin: str, tmp_path: Path) -> None:
    client = visitor(tmp_path, cors_origins=("https://app.example",))
    with client.websocket_connect(PATH, headers={"Origin": origin}) as stream:
        assert stream.receive_json()["type"] == "session.created"


def test_updates_add_up(tmp_path: Path) -> None:
    with visitor(tmp_path).websocket_connect(PATH) as stream:
        stream.receive_json()
        for session in ({"encoding": "mulaw"}, {"interval": 0}, {"channels": 2}):
            stream.send_json({"type": "session.update", "session": session})
            found = stream.receive_json()["session"]
        assert (found["encoding"], found["rate"]) == ("mulaw", 8000)
        assert (found["interval"], found["channels"]) == (0, 2)


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "input_audio_buffer.append", "audio": "é"}',
        '{"type": "session.update", "session": {"policy": {"format": "emotion2vec-policy", '
        '"version": 1, "validation": {"clips": 1' + "0" * 40 + "}}}}",
        '{"type": "session.update", "session": {"rate": 1' + "0" * 400 + "}}",
    ],
)
def test_what_no_encoder_can_write_is_refused(text: str, tmp_path: Path) -> None:
    with visitor(tmp_path).websocket_connect(PATH) as stream:
        stream.receive_json()
        stream.send_text(text)
        assert stream.receive_json()["code"] == "bad_request"


def test_a_message_is_named_where_it_is_wrong() -> None:
    with pytest.raises(Exception, match=r"session.rate: Input should be a valid integer"):
        read('{"type": "session.update", "session": {"rate": "fast"}}')
