"""The proofs under load, in small: what they do and count is right, however long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import chaos, leaks, overload, soak, traffic
from benchmarks.leaks import Usage
from benchmarks.overload import Measured, Sent
from benchmarks.processes import Service
from server.triton import OWNED_PREFIX

PATIENCE = 60.0


@pytest.fixture(scope="module")
def service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with Service(tiny_repository, folder, keep_results=soak.KEEP_RESULTS) as running:
        yield running


def test_the_detector_sees_each_leak_and_nothing_else() -> None:
    assert leaks.OWNED_PREFIX == OWNED_PREFIX
    assert soak.blind_spots() is None


def test_a_detector_that_sees_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_descriptors", lambda pid: 0)
    assert "where descriptors leaked, it saw nothing" in str(soak.blind_spots())


def test_every_client_of_the_soak_gets_what_it_should(service: Service) -> None:
    happened, samples = soak.soak(service, rounds=3, seconds=1.5, seed=1)
    assert happened.wrong == happened.failed == []
    assert set(happened.counts) == {
        *(f"answered over {door}" for door in ("grpc", "http", "rest")),
        *("bad files refused", "given up", "hung up", "killed"),
    }
    assert len(samples) == 2
    for sample in samples:
        assert sample.memory > 100
        assert sample.descriptors > 30
        assert sample.shared >= 1
        assert sample.overdue == 0


def test_another_clips_answer_is_found_out_at_every_door(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = traffic.Traffic(service, seed=1)
    for name in set(traffic.CLIPS) - {"short.wav"}:
        monkeypatch.setitem(traffic.CLIPS, name, traffic.CLIPS["short.wav"])
    asyncio.run(clients.run(seconds=2, clients=6))
    assert clients.failed == []
    for door in ("grpc", "http", "rest"):
        assert any(f"over {door}: " in sentence for sentence in clients.wrong)


def test_under_overload_each_request_is_answered_or_refused(
    tiny_repository: Path, tmp_path: Path
) -> None:
    with Service(tiny_repository, tmp_path, max_wait=0.2) as running:
        measured = asyncio.run(overload.overload(running, 1.0, 2.0, PATIENCE))
    assert {sent.status for sent in measured.sent} == {200, 429}
    assert measured.back < PATIENCE
    assert measured.usages
    assert measured.delays


KEPT = Measured(
    capacity=10.0,
    singles=[0.1],
    sent=[Sent(200, 3.9, 3.8), Sent(429, 0.2, 0.09)],
    back=4.0,
    usages=[Usage(100.0, 10, 1.0, 0)] * 8,
    delays=[0.001],
)
BROKEN = {
    "answered late": {"sent": [Sent(200, 4.1, 3.8), Sent(429, 0.2, 0.09)]},
    "refused late": {"sent": [Sent(200, 3.9, 3.8), Sent(429, 0.2, 0.11)]},
    "nothing refused": {"sent": [Sent(200, 3.9, 3.8)]},
    "failed": {"sent": [*KEPT.sent, Sent(504, 1.0, 1.0)]},
    "grown": {"usages": [Usage(100.0 + 2 * step, 10, 1.0, 0) for step in range(8)]},
    "not back": {"back": float("inf")},
}


def test_overload_says_when_all_is_well() -> None:
    assert overload.report(KEPT) == 0


@pytest.mark.parametrize("what", BROKEN)
def test_overload_says_what_is_broken(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert overload.report(replace(KEPT, **BROKEN[what])) == 1
    assert capsys.readouterr().out.count("BROKEN") == 1


def test_chaos_measures_a_fault_that_is_ridden_over(tiny_repository: Path) -> None:
    row = chaos.play("encoder stub killed", tiny_repository)
    assert not row.broken
    assert row.noticed is not None
    assert row.back is not None
    assert row.back > row.noticed
    assert row.lost == 0
    assert row.answered >= chaos.BUSY_ANSWERS + 2 * chaos.CONCURRENCY


def test_without_room_for_results_the_service_says_507_and_goes_on(tiny_repository: Path) -> None:
    row = chaos.play("outputs/ full", tiny_repository)
    assert row.kept, row.note
    assert "507 while full" in row.note
