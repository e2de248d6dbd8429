"""The client library with the real server, and without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emotion2vec_client import (
    Client,
    InvalidAudioError,
    PredictionTimeoutError,
    ServerUnavailableError,
    WrongAddressError,
)
from export import contract
from server.triton import Triton
from tests.conftest import SAMPLES, free_ports
from tests.integration.gateways import Gateway

HAPPY = SAMPLES / "happy.wav"


def test_a_path_bytes_and_a_file_give_the_same_answer(client: Client) -> None:
    with HAPPY.open("rb") as file:
        answers = [client.predict(each) for each in (HAPPY, str(HAPPY), HAPPY.read_bytes(), file)]
    assert all(answer.scores == answers[0].scores for answer in answers)


def test_only_what_was_asked_for_comes(client: Client) -> None:
    plain = client.predict(HAPPY)
    assert plain.embedding is None
    assert plain.frames is None
    framed = client.predict(HAPPY, granularity="frame")
    assert framed.frames is not None
    assert framed.frames.embedding is None


def test_the_dictionary_is_the_format_that_users_read(client: Client) -> None:
    result = client.predict(HAPPY, granularity="frame")
    plain = json.loads(json.dumps(result.to_dict()))
    fixed = ["emotion", "confidence", "scores", "granularity", "timestamp"]
    assert list(plain)[:5] == fixed
    assert result.timestamp.utcoffset() is not None
    assert plain["timestamp"] == f"{result.timestamp:%Y-%m-%d %H:%M:%S}"
    assert list(plain["scores"]) == list(contract.LABELS)
    assert plain["confidence"] == plain["scores"][plain["emotion"]] == result.confidence
    assert plain["granularity"] == "frame"
    assert plain["frame_hop"] == 0.02
    assert list(plain["frame_scores"]) == list(contract.LABELS)
    assert {len(column) for column in plain["frame_scores"].values()} == {len(result.frames.times)}


def test_wrong_arguments_never_reach_the_server(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown granularity 'word': use 'utterance' or 'frame'"):
        client.predict(HAPPY, granularity="word")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="audio is"):
        client.predict(42)  # type: ignore[arg-type]
    with (tmp_path / "text").open("w+") as file, pytest.raises(TypeError, match="binary mode"):
        client.predict(file)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        client.predict(tmp_path / "missing.wav")


def test_no_server_is_one_sentence() -> None:
    [port] = free_ports(1)
    with Client(f"127.0.0.1:{port}", timeout=5, retry_seconds=0.1) as client:
        with pytest.raises(
            ServerUnavailableError, match=f"no emotion2vec-triton server is ready at .*:{port}"
        ):
            client.predict(HAPPY)
        with pytest.raises(ServerUnavailableError, match=r"not ready after 0\.1 s"):
            client.wait_until_ready(0.1)


def test_too_short_a_timeout_is_one_sentence(client: Client) -> None:
    with pytest.raises(PredictionTimeoutError, match=r"in 0\.0001 s"):
        client.predict(HAPPY, timeout=0.0001)


def test_a_ready_server_is_not_waited_for(client: Client) -> None:
    client.wait_until_ready(5)


def test_the_servers_sentence_comes_without_tritons_prefix(client: Client) -> None:
    with pytest.raises(InvalidAudioError, match=r"^the file is empty"):
        client.predict(b"")


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_gateway_is_not_taken_for_triton(gateway: Gateway, scheme: str) -> None:
    with (
        Client(f"{scheme}localhost:{gateway.port}") as client,
        pytest.raises(WrongAddressError, match=r"gateway's page .*by default localhost:8001"),
    ):
        client.predict(HAPPY)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_each_call_to_a_model_is_announced(triton: Triton, protocol: str) -> None:
    happened: list[str] = []

    @contextmanager
    def on_call(model: str) -> Iterator[dict[str, str]]:
        happened.append(f"{model} begins")
        yield {"traceparent": f"00-{1:032x}-{1:016x}-01"}
        happened.append(f"{model} ends")

    port = getattr(triton.settings, f"{protocol}_port")
    with Client(f"{protocol}://127.0.0.1:{port}", on_call=on_call) as client:
        client.predict(client.decode(HAPPY))
        client.timeline(HAPPY)
    called = ["preprocess", "encoder", "emotion2vec_timeline"]
    assert happened == [f"{model} {when}" for model in called for when in ("begins", "ends")]
