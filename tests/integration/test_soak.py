"""Short forms of the proofs under load: they test that traffic and counts are right, not speed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.launch import HOST, PATIENCE
from benchmarks.service import Service
from tests.integration.gateways import Gateway
from tests.scenarios import leaks, overload, soak, traffic


@pytest.fixture(scope="module")
def service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    outputs = tmp_path_factory.mktemp("service") / "outputs"
    with Service(tiny_repository, outputs=outputs, keep_results=soak.KEEP_RESULTS) as running:
        running.wait_until_ready()
        yield running


def test_the_detector_sees_each_leak_and_nothing_else() -> None:
    assert soak.blind_spots() is None


def test_a_detector_that_sees_nothing_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_descriptors", lambda pid: 0)
    assert "descriptors leaked, but the detector found nothing" in str(soak.blind_spots())


def test_every_client_of_the_soak_gets_what_it_should(service: Service) -> None:
    happened, samples = soak.soak(service, rounds=2, seconds=0, seed=1, bursts=1)
    assert happened.wrong == happened.failed == []
    assert set(happened.counts) == {
        *(f"answered over {protocol}" for protocol in ("grpc", "http", "rest")),
        *("bad files refused", "given up", "hung up", "killed"),
    }
    [sample] = samples
    assert sample.memory > 100
    assert sample.descriptors > 30
    assert sample.shared >= 1
    assert sample.overdue == 0


def test_another_clips_answer_is_detected_over_every_protocol(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = traffic.Traffic(service, seed=1)
    for name in set(traffic.CLIPS) - {"short.wav"}:
        monkeypatch.setitem(traffic.CLIPS, name, traffic.CLIPS["short.wav"])
    asyncio.run(clients.run(seconds=0, clients=sum(traffic.WAYS.values())))
    assert clients.failed == []
    for protocol in ("grpc", "http", "rest"):
        assert any(f"over {protocol}: " in sentence for sentence in clients.wrong)


def test_under_overload_each_request_is_answered_or_refused(url: str, tmp_path: Path) -> None:
    with Gateway(url, tmp_path, E2V_MAX_WAIT="0.2") as gateway:
        address, watch = (HOST, gateway.port), leaks.Watch(gateway.pid, tmp_path, keep=0)
        measured = asyncio.run(overload.overload(address, watch, 0.3, 0.5, PATIENCE))
    assert {sent.status for sent in measured.sent} == {200, 429}
    assert measured.back < PATIENCE
    assert measured.usages
    assert measured.delays
