"""Faults in a running service: it reports and repairs each one, and clients lose nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, rmtree

import httpx
import numpy as np
import psutil
import pytest

from audio.layout import SAMPLE_RATE
from benchmarks.launch import below, own_disk, wait_until
from benchmarks.service import Service
from emotion2vec_client import Client, Emotion2VecError
from tests.conftest import SAMPLES
from tests.integration.test_process import MODELS, leftovers
from tests.scenarios.busy import BUSY_ANSWERS, CONCURRENCY
from tests.scenarios.faults import FAULTS, IN_FLIGHT, OTHERS, results_without_room, ride_over

OF_THE_GATEWAY = "gateway killed"
IN_A_MODEL = "encoder stub stopped"
"""These two faults need a service with a gateway; the others run without one."""


@pytest.fixture(scope="module")
def service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a gateway that writes its results to a disk of its own."""
    outputs = tmp_path_factory.mktemp("outputs")
    with Service(tiny_repository, outputs=outputs, within=own_disk(outputs, 8)) as running:
        running.wait_until_ready()
        yield running


def survives(service: Service, fault: str) -> None:
    struck = below(service.pid)
    seen = ride_over(service, FAULTS[fault])
    assert seen.lost == [], fault
    assert seen.answered >= BUSY_ANSWERS + 2 * CONCURRENCY, fault
    changed = [each for each in struck if each not in below(service.pid)]
    assert changed, f"no process was replaced after {fault}"
    with Client(service.grpc_url) as client:
        assert client.predict(SAMPLES / "happy.wav").emotion, fault


def test_triton_comes_back_and_loses_nothing_until_it_breaks_too_often_and_is_given_up(
    tiny_repository: Path, tmp_path: Path
) -> None:
    """The service recovers from one fault after another, and then meets one that stays."""
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    with Service(repository) as server:
        server.wait_until_ready()
        for fault in FAULTS:
            if fault in (OF_THE_GATEWAY, IN_A_MODEL):
                continue
            before = below(server.pid)
            survives(server, fault)
            # All of Triton's processes are new, even the one that was only stopped.
            assert not set(before) & set(below(server.pid)), fault
        (repository / "encoder" / "1" / "model.onnx").write_bytes(b"not a graph")
        # Remove the models that would load, to save the time.
        for model in {*MODELS} - {"encoder"}:
            rmtree(repository / model)
        server.part("tritonserver").kill()
        assert server.wait() == 1
    assert "gave up after 5 restarts" in server.said
    assert not leftovers(server)


def metrics(service: Service) -> str:
    return httpx.get(f"{service.rest_url}/metrics").text


def restarts(service: Service) -> dict[str, int]:
    """Restarts of each part, from the gateway's metrics."""
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


def test_requests_in_flight_end_with_an_error_that_says_so_or_are_sent_again(
    service: Service,
) -> None:
    before, triton = restarts(service), service.part("tritonserver")
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(ask_until_it_fails, service.grpc_url)
        survives(service, IN_A_MODEL)
        assert "127.0.0.1" in str(in_flight.result())
    assert not triton.is_running()
    assert restarts(service) == {**before, "triton": before["triton"] + 1}


def ask_until_it_fails(url: str) -> Emotion2VecError:
    """Sends one request after another, so that one is always in flight, without retries."""
    with Client(url, retry_seconds=0) as client:
        while True:
            try:
                client.predict(SAMPLES / "happy.wav")
            except Emotion2VecError as error:
                return error


def test_a_stream_loses_no_final_measurement_while_triton_is_killed(
    service: Service, story: np.ndarray
) -> None:
    half = len(story) // 2
    with (
        Client(service.grpc_url) as client,
        client.stream(gateway=service.rest_url, interval=0) as stream,
    ):
        stream.send(story[:half])
        service.part("tritonserver").kill()
        stream.send(story[half:])
        stream.finish()
        finals = [(each.start, each.end, each.unwrap().emotion) for each in stream]
        assert stream.totals.failed == 0
        # What the stream heard: 16 bits.
        pcm = np.rint(story * 2.0**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
        timeline = client.timeline((pcm, SAMPLE_RATE))
    assert finals == [(each.start, each.end, each.emotion) for each in timeline.segments]


def test_sigterm_answers_what_was_accepted(tiny_repository: Path, tmp_path: Path) -> None:
    seen = OTHERS["told to end (SIGTERM)"](tiny_repository, tmp_path)
    assert seen.lost == []
    assert seen.answered == IN_FLIGHT


def test_without_room_for_results_the_service_goes_on(service: Service) -> None:
    seen = results_without_room(service)
    assert seen.lost == []
    assert seen.answered
