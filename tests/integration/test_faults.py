"""Faults in a running service: each is told, healed without help, and ridden over by clients."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, rmtree

import httpx
import psutil
import pytest

from benchmarks.launch import below, wait_until
from benchmarks.service import Service
from emotion2vec_client import Client, Emotion2VecError
from tests.conftest import SAMPLES
from tests.integration.test_process import MODELS, leftovers
from tests.scenarios.faults import BUSY_ANSWERS, CONCURRENCY, FAULTS, IN_FLIGHT, OTHERS, ride_over

OF_THE_GATEWAY = "gateway killed"


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[Service]:
    """Started again as often as it may be: by the five faults of Triton."""
    with Service(tiny_repository) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tiny_repository, outputs=tmp_path_factory.mktemp("outputs")) as running:
        running.wait_until_ready()
        yield running


def survives(service: Service, fault: str) -> None:
    struck = below(service.pid)
    seen = ride_over(service, FAULTS[fault])
    assert seen.lost == []
    assert seen.answered >= BUSY_ANSWERS + 2 * CONCURRENCY
    part = FAULTS[fault].part
    changed = [each for each in struck if each not in below(service.pid)]
    assert changed, f"no process is another after {fault}"
    with Client(service.grpc_url) as client:
        assert client.predict(SAMPLES / "happy.wav").emotion, part


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != OF_THE_GATEWAY])
def test_the_service_comes_back_and_loses_nothing(server: Service, fault: str) -> None:
    before = below(server.pid)
    survives(server, fault)
    # All of Triton is new, also the process that was only stopped.
    assert not set(before) & set(below(server.pid))


def metrics(service: Service) -> str:
    return httpx.get(f"{service.rest_url}/metrics").text


def restarts(service: Service) -> dict[str, int]:
    """What the gateway's metrics say of each part."""
    pattern = r'^emotion2vec_restarts_total\{part="(\w+)"\} (\d+)'
    found = re.findall(pattern, metrics(service), re.MULTILINE)
    return {part: int(count) for part, count in found}


def test_the_gateway_comes_back_alone_and_knows_what_was_restarted(service: Service) -> None:
    triton, before = service.part("tritonserver"), restarts(service)
    assert "emotion2vec_model_info{" in metrics(service)
    survives(service, OF_THE_GATEWAY)
    assert service.part("tritonserver") == triton
    assert service.part("gateway").status() != psutil.STATUS_ZOMBIE
    # It takes a moment until a new gateway listens.
    wait_until(lambda: answers(service), "the gateway answers")
    assert restarts(service) == {**before, "gateway": before["gateway"] + 1}
    assert "emotion2vec_model_info{" in metrics(service)


def answers(service: Service) -> bool:
    try:
        return httpx.get(f"{service.rest_url}/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_requests_in_flight_end_with_an_error_that_says_so(service: Service) -> None:
    before = restarts(service)
    service.part("encoder").send_signal(signal.SIGSTOP)
    with (
        Client(service.grpc_url, retry_seconds=0) as client,
        pytest.raises(Emotion2VecError) as ended,
    ):
        client.predict(SAMPLES / "happy.wav")
    assert "127.0.0.1" in str(ended.value)
    service.wait_for("Triton runs again")
    assert restarts(service) == {**before, "triton": before["triton"] + 1}


def test_sigterm_answers_what_was_accepted(tiny_repository: Path, tmp_path: Path) -> None:
    seen = OTHERS["told to end (SIGTERM)"](tiny_repository, tmp_path)
    assert seen.lost == []
    assert seen.answered == IN_FLIGHT


@pytest.mark.parametrize("fault", ["outputs/ full", "/dev/shm full"])
def test_without_room_the_service_goes_on(
    tiny_repository: Path, tmp_path: Path, fault: str
) -> None:
    seen = OTHERS[fault](tiny_repository, tmp_path)
    assert seen.lost == []
    assert seen.answered


def test_a_service_that_cannot_be_healed_is_given_up(tiny_repository: Path, tmp_path: Path) -> None:
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    with Service(repository) as server:
        server.wait_until_ready()
        (repository / "encoder" / "1" / "model.onnx").write_bytes(b"not a graph")
        # What would load well, and is waited for each time.
        for model in {*MODELS} - {"encoder"}:
            rmtree(repository / model)
        server.part("tritonserver").kill()
        assert server.wait() == 1
    assert "given up after 5 restarts" in server.said
    assert not leftovers(server)
