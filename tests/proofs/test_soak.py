"""Twenty minutes of mixed traffic: no wrong answers, and nothing grows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.service import Service
from benchmarks.tables import table
from tests.scenarios import leaks, soak

MINUTES = float(os.environ.get("MINUTES", "20"))
ROUND_SECONDS = 20.0
LEAST_ROUNDS = 12
SHOWN = 5


def test_nothing_is_wrong_and_nothing_grows(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    assert soak.blind_spots() is None
    rounds = max(LEAST_ROUNDS, round(MINUTES * 60 / ROUND_SECONDS))
    outputs, keep = tmp_path / "outputs", soak.KEEP_RESULTS
    with Service(repository, outputs=outputs, keep_results=keep, timeout=120) as service:
        service.wait_until_ready()
        traffic, samples = soak.soak(service, rounds, ROUND_SECONDS, seed=1)
        restarts = [
            line.text
            for line in service.lines
            if ": restarted " in line.text or "is running again" in line.text
        ]
    show(table(("requests", ""), sorted(traffic.counts.items())) + "\n")
    verdicts = leaks.judge(samples)
    rows = [
        (each.name, f"{each.first:.1f}", f"{each.last:.1f}", f"{each.limit:.1f}")
        for each in verdicts
    ]
    show(table(("held", "after warm-up", "at the end", "at most"), rows) + "\n")
    show(f"wrong: {len(traffic.wrong)}, failed: {len(traffic.failed)}, restarts: {len(restarts)}")
    assert traffic.wrong[:SHOWN] == traffic.failed[:SHOWN] == restarts == []
    assert [each.name for each in verdicts if each.grown] == []
