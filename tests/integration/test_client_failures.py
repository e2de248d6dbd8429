"""The client with servers that are overloaded, hang or lose a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
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
from emotion2vec_client._retry import Outage
from export import contract
from server.triton import Triton
from tests.conftest import READY_SECONDS, serving, settings_for, speech_like

CLIP = (speech_like(8_000), 16_000)


def stubs(triton: Triton, model: str) -> list[psutil.Process]:
    """The processes in which a model runs."""
    return [process for process in below(triton.pid) if part_name(process) == model]


def address(triton: Triton, scheme: str) -> str:
    ports = {"grpc": triton.settings.grpc_port, "http": triton.settings.http_port}
    return f"{scheme}://127.0.0.1:{ports[scheme]}"


@pytest.fixture(scope="module")
def narrow(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server whose encoder queues at most two requests, and may be stopped for a while."""
    repository = copytree(tiny_repository, tmp_path_factory.mktemp("narrow") / "model_repository")
    config = repository / "encoder" / "config.pbtxt"
    text = config.read_text("utf-8")
    size = f"max_queue_size: {contract.QUEUE_SIZE}"
    assert size in text
    config.write_text(text.replace(size, "max_queue_size: 2"), "utf-8")
    with serving(settings_for(repository)) as triton:
        yield triton


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_full_queue_is_an_overload_and_is_tried_again(
    narrow: Triton, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_again = threading.Event()

    class Watched(Outage):
        def delay(self, attempt: int, error: ServerUnavailableError) -> float:
            if attempt:
                tried_again.set()
            return super().delay(attempt, error)

    monkeypatch.setattr("emotion2vec_client._client.Outage", Watched)
    url = address(narrow, scheme)
    [encoder] = stubs(narrow, "encoder")
    with (
        Client(url, retry_seconds=0) as hasty,
        Client(url) as patient,
        ThreadPoolExecutor(25) as pool,
    ):
        encoder.suspend()
        try:
            # The stopped encoder keeps its requests, and two more wait: the others are refused.
            attempts = [pool.submit(hasty.predict, CLIP) for _ in range(24)]
            [refused, *_] = wait(attempts, READY_SECONDS, FIRST_COMPLETED).done
            with pytest.raises(OverloadedError, match="too much to do: try later"):
                refused.result()
            many = pool.submit(list, patient.predict_many([CLIP] * 20))
            assert tried_again.wait(READY_SECONDS)
        finally:
            encoder.resume()
        assert [outcome.error for outcome in many.result() if outcome.error] == []


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_hangs_is_a_timeout_and_answers_after_it_resumes(
    narrow: Triton, scheme: str
) -> None:
    [encoder] = stubs(narrow, "encoder")
    with Client(address(narrow, scheme)) as client:
        client.predict(CLIP)
        encoder.suspend()
        try:
            with pytest.raises(PredictionTimeoutError, match=r"no answer .* in 0\.5 s"):
                client.predict(CLIP, timeout=0.5)
        finally:
            encoder.resume()
        assert client.predict(CLIP).emotion


def test_a_model_whose_process_died_is_unavailable(tiny_repository: Path) -> None:
    with (
        serving(settings_for(tiny_repository)) as triton,
        Client(address(triton, "grpc"), retry_seconds=0) as client,
    ):
        for model, ask in (("encoder", client.predict), ("preprocess", client.decode)):
            ask(CLIP)
            for process in stubs(triton, model):
                process.kill()
            with pytest.raises(ServerUnavailableError):
                for _ in range(3):
                    ask(CLIP, timeout=20)
