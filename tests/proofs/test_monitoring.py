"""Seen from outside: a real Prometheus notices an overload of the service, and its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.launch import wait_until
from benchmarks.service import Service
from benchmarks.tables import table
from tests.proofs.conftest import RESULTS
from tests.scenarios import leaks
from tests.scenarios.monitoring import Prometheus, Query, queries
from tests.scenarios.overload import overload

MINUTES = float(os.environ.get("MINUTES", "1"))
CAPACITY_SECONDS = 10.0
PATIENCE = 60.0

FACTOR = 60
"""An hour of the rules is a minute here, and five minutes are 5 s."""

EXPECTED = ("Emotion2vecSlowAnswers", "Emotion2vecQueueGrowing", "Emotion2vecRefusing")

SHOWN = ("Time to the answer", "Requests by outcome", "Queue and compute", "Batch size")
"""Panels of the dashboard in the picture."""


def test_an_overload_is_told_and_its_end_too(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    outputs = tmp_path / "outputs"
    with Service(repository, outputs=outputs) as service:
        service.wait_until_ready()
        with Prometheus(service, tmp_path, FACTOR) as prometheus:
            prometheus.wait_for_scrape()
            # Before its first scrape, no gateway was there for 2 s.
            wait_until(lambda: not prometheus.firing(), "a healthy service causes no alert")
            began = time.time()
            watch = leaks.Watch(service.pid, outputs, keep=0)
            measured = asyncio.run(
                overload(service.rest, watch, CAPACITY_SECONDS, MINUTES * 60, PATIENCE)
            )
            ended = time.time() - measured.back
            wait_until(lambda: not prometheus.firing() & set(EXPECTED), "the alerts have cleared")
            now = time.time()
            fired = {name: _fired(prometheus, name, began, now) for name in EXPECTED}
            show(f"overload of {5 * measured.capacity:.1f} requests/s, windows / {FACTOR}\n")
            rows = [
                (
                    name,
                    f"{times[0] - began:.0f} s" if times else "never",
                    f"{max(times[-1] - ended, 0):.0f} s" if times else "",
                )
                for name, times in fired.items()
            ]
            show(table(("alert", "fired after the start", "cleared after the end"), rows))
            _draw(prometheus, began, now, fired, RESULTS / "monitoring.png")
    assert all(fired.values())


def _fired(prometheus: Prometheus, name: str, begin: float, end: float) -> list[float]:
    """The seconds in which an alert fired."""
    found = prometheus.series(f'ALERTS{{alertname="{name}",alertstate="firing"}}', begin, end)
    return sorted(float(when) for series in found for when, _ in series["values"])


def _draw(
    prometheus: Prometheus, begin: float, end: float, fired: dict[str, list[float]], path: Path
) -> None:
    """Draws what the dashboard's panels query, and below it when each alert fired."""
    figure, axes = plt.subplots(len(SHOWN) + 1, figsize=(9, 11), sharex=True, layout="constrained")
    for axis, title in zip(axes, SHOWN, strict=False):
        for query in (each for each in queries() if each.panel == title):
            _plot(axis, prometheus, query, begin, end)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper right")
    axes[0].axhline(2, color="red", linewidth=0.8)
    for row, (name, times) in enumerate(fired.items()):
        axes[-1].scatter([when - begin for when in times], [row] * len(times), marker="|", s=60)
        axes[-1].text(0, row + 0.15, name, fontsize=8)
    axes[-1].set_yticks([])
    axes[-1].set_ylim(-0.5, len(fired))
    axes[-1].set_title("Alerts that fire", loc="left", fontsize=10)
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=90)


def _plot(axis: Any, prometheus: Prometheus, query: Query, begin: float, end: float) -> None:
    for series in prometheus.series(query.filled("5s"), begin, end):
        points = [(float(when) - begin, float(value)) for when, value in series["values"]]
        label = ", ".join(series["metric"].values()) or query.legend
        axis.plot(*zip(*points, strict=True), label=label, linewidth=1.2)
