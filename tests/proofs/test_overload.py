"""Overload of five times the service's capacity, for three minutes."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.service import Service
from benchmarks.summary import percentile
from benchmarks.tables import table
from tests.scenarios import leaks
from tests.scenarios.overload import CAPACITY_CLIENTS, overload

MINUTES = float(os.environ.get("MINUTES", "3"))
CAPACITY_SECONDS = 30.0
PATIENCE = 60.0

MAX_WAIT = 3.0
ACCEPTED_P99 = 4.0
REFUSED_P99 = 0.1
BACK_SECONDS = 5.0


def test_what_is_accepted_is_answered_soon_and_the_rest_refused_at_once(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    outputs = tmp_path / "outputs"
    with Service(repository, outputs=outputs, max_wait=MAX_WAIT) as service:
        service.wait_until_ready()
        watch = leaks.Watch(service.pid, outputs, keep=0)
        measured = asyncio.run(
            overload(service.rest, watch, CAPACITY_SECONDS, MINUTES * 60, PATIENCE)
        )
    singles = measured.singles
    statuses = Counter(sent.status for sent in measured.sent)
    show(f"capacity: {measured.capacity:.2f} answers/s with {CAPACITY_CLIENTS} clients")
    show(f"single request: {statistics.median(singles):.2f} s, {max(singles):.2f} s at most")
    show(f"sent: {len(measured.sent)}, by status: {dict(sorted(statuses.items()))}")
    show(f"this machine's own delay: p99 {percentile(measured.delays, 0.99):.3f} s\n")
    [memory] = [each for each in leaks.judge(measured.usages) if each.name == "memory"]
    promises = [
        ("accepted, p99 (s)", percentile(measured.seconds(200, "since_due"), 0.99), ACCEPTED_P99),
        ("refused, p99 (s)", percentile(measured.seconds(429, "since_upload"), 0.99), REFUSED_P99),
        ("neither answered nor refused", measured.others, 0),
        ("memory, end over start", memory.last / memory.first, leaks.MEMORY_GROWTH),
        ("recovered after (s)", measured.back, BACK_SECONDS),
    ]
    # A promise without a measurement counts as broken.
    kept = [found is not None and found <= most for _, found, most in promises]
    rows = [
        (name, "none" if found is None else f"{found:.3g}", f"{most:g}", "ok" if good else "BROKEN")
        for (name, found, most), good in zip(promises, kept, strict=True)
    ]
    show(table(("promise", "measured", "at most", ""), rows))
    assert all(kept)
