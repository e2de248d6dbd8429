"""Faults in a running service: each is noticed, healed by nobody's hand, and ridden over."""

from __future__ import annotations

import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

from emotion2vec_client import (
    Client,
    Emotion2VecError,
    Prediction,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from tests.conftest import SAMPLES
from tests.integration.test_process import Server, descendants, stub_of, tritonserver_of, wait_for

HAPPY = SAMPLES / "happy.wav"
NOTICED_SECONDS = 15
BACK_SECONDS = 60
"""Bounds that a broken supervisor never meets; what it takes is measured in `make chaos`."""


@pytest.fixture
def server(tiny_repository: Path) -> Iterator[Server]:
    with Server(tiny_repository) as running:
        running.read_until("ready on gRPC")
        yield running


def tritonserver(server: Server) -> int:
    return tritonserver_of(server.process.pid)


def is_ready(server: Server) -> bool:
    url = f"http://127.0.0.1:{server.settings.http_port}/v2/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


FAULTS = {
    "tritonserver killed": (None, signal.SIGKILL),
    "preprocess stub killed": ("preprocess", signal.SIGKILL),
    "encoder stub killed": ("encoder", signal.SIGKILL),
    "encoder stub stopped": ("encoder", signal.SIGSTOP),
    "preprocess stub stopped": ("preprocess", signal.SIGSTOP),
}
"""The model whose stub is hit, None for tritonserver itself, and by what."""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_service_comes_back_and_many_rides_over_it(server: Server, fault: str) -> None:
    model, number = FAULTS[fault]
    url = f"127.0.0.1:{server.settings.grpc_port}"
    outcomes = []

    def send_many() -> None:
        with Client(url) as client:
            items = (HAPPY for _ in range(400))
            outcomes.extend(client.predict_many(items, concurrency=8))

    with Client(url) as client:
        expected = client.predict(HAPPY).scores
        sender = threading.Thread(target=send_many)
        sender.start()
        wait_for(
            lambda: counter(server, "nv_inference_count", "encoder") > 20, BACK_SECONDS, "at work"
        )
        before = descendants(server.process.pid)
        os.kill(stub_of(server.process.pid, model) if model else tritonserver(server), number)
        wait_for(lambda: not is_ready(server), NOTICED_SECONDS, "noticed")
        wait_for(lambda: is_ready(server), BACK_SECONDS, "back")
        sender.join(BACK_SECONDS)
        assert client.predict(HAPPY).scores == pytest.approx(expected, abs=1e-6)
    assert len(outcomes) == 400
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert all(outcome.unwrap().scores == pytest.approx(expected) for outcome in outcomes)
    assert not set(before) & set(descendants(server.process.pid))


def counter(server: Server, name: str, model: str) -> int:
    url = f"http://127.0.0.1:{server.settings.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f'{name}{{model="{model}"'):
                return int(float(line.rpartition(" ")[2]))
    return 0


def test_requests_in_flight_end_with_an_error_that_says_so(server: Server) -> None:
    url = f"127.0.0.1:{server.settings.grpc_port}"
    os.kill(stub_of(server.process.pid, "encoder"), signal.SIGSTOP)
    with Client(url, retry_seconds=0) as client, pytest.raises(Emotion2VecError) as ended:
        client.predict(HAPPY)
    assert "127.0.0.1" in str(ended.value)
    wait_for(lambda: is_ready(server), BACK_SECONDS, "back")


def refuses(client: Client) -> bool:
    """Whether a request is turned away at once; one that just got in waits."""
    try:
        client.predict(HAPPY, timeout=0.3)
    except PredictionTimeoutError:
        return False
    except ServerUnavailableError as error:
        return "no emotion2vec-triton server is ready" in str(error)
    return False


def test_sigterm_answers_what_was_accepted_and_refuses_what_is_new(
    tiny_repository: Path, tmp_path: Path
) -> None:
    # A batch that waits to be filled holds every request until the signal has been given.
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    config = repository / "encoder" / "config.pbtxt"
    text = config.read_text("utf-8").replace("max_batch_size: 4", "max_batch_size: 64")
    delayed = text.replace(
        "dynamic_batching {", "dynamic_batching { max_queue_delay_microseconds: 3000000"
    )
    config.write_text(delayed, "utf-8")
    outcomes: list[Prediction | Emotion2VecError] = []

    def send(client: Client) -> None:
        try:
            outcomes.append(client.predict(HAPPY))
        except Emotion2VecError as error:
            outcomes.append(error)

    with Server(repository) as server:
        server.read_until("ready on gRPC")

        def prepared() -> int:
            return counter(server, "nv_inference_request_success", "preprocess")

        with Client(f"127.0.0.1:{server.settings.grpc_port}", retry_seconds=0) as client:
            expected = client.predict(HAPPY).scores
            before = prepared()
            senders = [threading.Thread(target=send, args=[client]) for _ in range(20)]
            for sender in senders:
                sender.start()
            wait_for(lambda: prepared() >= before + 20, 10, "in")
            server.process.terminate()
            wait_for(lambda: not is_ready(server), NOTICED_SECONDS, "draining")
            wait_for(lambda: refuses(client), NOTICED_SECONDS, "refusing")
            assert not outcomes
            for sender in senders:
                sender.join(BACK_SECONDS)
            assert server.process.wait(BACK_SECONDS) == 0
    assert [outcome for outcome in outcomes if isinstance(outcome, Emotion2VecError)] == []
    assert len(outcomes) == 20
    assert all(outcome.scores == pytest.approx(expected, abs=1e-6) for outcome in outcomes)


def test_a_hangup_loads_a_new_export_and_loses_nothing(
    server: Server, tiny_repository: Path
) -> None:
    url = f"127.0.0.1:{server.settings.grpc_port}"
    old = descendants(server.process.pid)
    with Client(url) as client:
        items = (HAPPY for _ in range(300))
        outcomes = []
        for count, outcome in enumerate(client.predict_many(items, concurrency=8)):
            outcomes.append(outcome)
            if count == 50:
                server.process.send_signal(signal.SIGHUP)
    assert len(outcomes) == 300
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    server.read_until("ready with the new model")
    assert not set(old) & set(descendants(server.process.pid))


def test_a_service_that_cannot_be_healed_is_given_up(tiny_repository: Path, tmp_path: Path) -> None:
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    with Server(repository) as server:
        server.read_until("ready on gRPC")
        (repository / "encoder" / "1" / "model.onnx").write_bytes(b"not a graph")
        os.kill(tritonserver(server), signal.SIGKILL)
        output, _ = server.process.communicate(timeout=BACK_SECONDS)
    assert server.process.returncode == 1
    assert "given up after 5 restarts" in output
    assert not server.leftovers()
