"""The client against servers that are overloaded, hang or lose a part."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree

import psutil
import pytest

from benchmarks.launch import below
from benchmarks.service import part_name
from emotion2vec_client import (
    Client,
    OverloadedError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from export import contract
from server.triton import Triton
from tests.conftest import SAMPLES, serving, settings_for, speech_like

CLIP = (speech_like(160_000), 16_000)


def stubs(triton: Triton, model: str) -> list[psutil.Process]:
    """The processes in which a model runs."""
    return [process for process in below(triton.pid) if part_name(process) == model]


def address(triton: Triton, scheme: str) -> str:
    ports = {"grpc": triton.settings.grpc_port, "http": triton.settings.http_port}
    return f"{scheme}://127.0.0.1:{ports[scheme]}"


@pytest.fixture
def fragile(tiny_repository: Path, tmp_path: Path) -> Iterator[Triton]:
    """A server of its own, to be mistreated, whose encoder queues no more than two requests."""
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    config = repository / "encoder" / "config.pbtxt"
    text = config.read_text("utf-8")
    size = f"max_queue_size: {contract.QUEUE_SIZE}"
    assert size in text
    config.write_text(text.replace(size, "max_queue_size: 2"), "utf-8")
    with serving(settings_for(repository)) as triton:
        yield triton


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_full_queue_is_an_overload_and_is_tried_again(fragile: Triton, scheme: str) -> None:
    url = address(fragile, scheme)

    def attempt(client: Client) -> Exception | None:
        try:
            client.predict(CLIP)
        except OverloadedError as error:
            return error
        return None

    [encoder] = stubs(fragile, "encoder")
    encoder.suspend()
    try:
        with Client(url, retry_seconds=0) as client, ThreadPoolExecutor(24) as pool:
            attempts = [pool.submit(attempt, client) for _ in range(24)]
            # Refusals come while the encoder stands still, so the first is here before it goes on.
            while not any(each.done() for each in attempts):
                pass
            encoder.resume()
            refused = [each.result() for each in attempts if each.result()]
    finally:
        encoder.resume()
    assert refused
    assert "too much to do: try later" in str(refused[0])
    with Client(url) as client:
        outcomes = list(client.predict_many([CLIP] * 40, concurrency=20))
    assert [outcome.error for outcome in outcomes if outcome.error] == []


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_hangs_is_a_timeout_and_answers_when_it_goes_on(
    fragile: Triton, scheme: str
) -> None:
    [encoder] = stubs(fragile, "encoder")
    with Client(address(fragile, scheme)) as client:
        client.predict(CLIP)
        encoder.suspend()
        try:
            with pytest.raises(PredictionTimeoutError, match=r"no answer .* in 0\.5 s"):
                client.predict(CLIP, timeout=0.5)
        finally:
            encoder.resume()
        assert client.predict(SAMPLES / "happy.wav").emotion


@pytest.mark.parametrize("model", ["encoder", "preprocess"])
def test_a_model_whose_process_died_is_unavailable(fragile: Triton, model: str) -> None:
    with Client(address(fragile, "grpc"), retry_seconds=0) as client:
        client.predict(CLIP)
        for process in stubs(fragile, model):
            process.kill()
        with pytest.raises(ServerUnavailableError):
            for _ in range(3):
                client.predict(CLIP, timeout=20)
    # Triton would wait for the dead one before it ends.
    fragile.kill()
