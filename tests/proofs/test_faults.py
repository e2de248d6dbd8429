"""Every fault, with the installed model: time to the report, time to recovery, and losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.service import Service
from benchmarks.tables import table
from tests.scenarios.faults import FAULTS, OTHERS, Seen, ride_over

HEAD = ("fault", "told after", "back after", "answered", "lost", "")


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def test_every_fault_is_ridden_over(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    seen: dict[str, Seen] = {}
    for name, fault in FAULTS.items():
        # A new service for each fault: the supervisor gives up after too many restarts.
        with Service(repository, outputs=tmp_path / "outputs") as service:
            service.wait_until_ready()
            seen[name] = ride_over(service, fault)
    for number, (name, play) in enumerate(OTHERS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        seen[name] = play(repository, folder)
    rows = [
        (name, seconds(each.noticed), seconds(each.back), each.answered, len(each.lost), each.note)
        for name, each in seen.items()
    ]
    show(table(HEAD, rows))
    assert {name: each.lost for name, each in seen.items() if each.lost} == {}
