"""The client with servers that are overloaded, hang or lose a process."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import psutil
import pytest

from benchmarks.launch import PATIENCE, below
from benchmarks.service import part_name
from emotion2vec_client import (
    Client,
    OverloadedError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from emotion2vec_client._retry import Outage
from server.triton import Triton
from tests.conftest import serving, settings_for, speech_like
from tests.integration.conftest import Gated

CLIP = (speech_like(8_000), 16_000)


def stubs(triton: Triton, model: str) -> list[psutil.Process]:
    """The processes in which a model runs."""
    return [process for process in below(triton.pid) if part_name(process) == model]


def address(triton: Triton, scheme: str) -> str:
    ports = {"grpc": triton.settings.grpc_port, "http": triton.settings.http_port}
    return f"{scheme}://127.0.0.1:{ports[scheme]}"


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_full_queue_is_an_overload_and_is_tried_again(
    gated: Gated, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_again = threading.Event()

    class Watched(Outage):
        def delay(self, attempt: int, error: ServerUnavailableError) -> float:
            if attempt:
                tried_again.set()
            return super().delay(attempt, error)

    monkeypatch.setattr("emotion2vec_client._client.Outage", Watched)
    url = address(gated.triton, scheme)
    with (
        Client(url, retry_seconds=0) as hasty,
        Client(url) as patient,
        ThreadPoolExecutor(33) as pool,
    ):
        with gated.held():
            # The encoder keeps a batch of four, and 16 more wait: the others are refused.
            attempts = [pool.submit(hasty.predict, CLIP) for _ in range(32)]
            [refused, *_] = wait(attempts, PATIENCE, FIRST_COMPLETED).done
            with pytest.raises(OverloadedError, match="too much to do: try later"):
                refused.result()
            many = pool.submit(list, patient.predict_many([CLIP] * 20))
            assert tried_again.wait(PATIENCE)
        assert [outcome.error for outcome in many.result() if outcome.error] == []


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_hangs_is_a_timeout_and_answers_after_it_resumes(
    gated: Gated, scheme: str
) -> None:
    with Client(address(gated.triton, scheme)) as client:
        with (
            gated.held(),
            pytest.raises(PredictionTimeoutError, match=r"no answer .* in 0\.5 s"),
        ):
            client.predict(CLIP, timeout=0.5)
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
