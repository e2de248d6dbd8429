"""When to add a replica: measured on the real service, and simulated for a cluster of them."""

from __future__ import annotations

import asyncio
import math
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tritonclient.grpc import InferenceServerClient

from benchmarks.launch import SAMPLES
from benchmarks.service import Service
from benchmarks.tables import table
from tests.kubernetes import values
from tests.proofs.conftest import RESULTS
from tests.scenarios import overload, scaling
from tests.scenarios.monitoring import Prometheus
from tests.scenarios.scaling import Cluster
from tests.scenarios.traffic import CLIPS

SECONDS = 60 * float(os.environ.get("MINUTES", "0.7"))
"""Length of each load; Prometheus has some more seconds to see its end."""

CAPACITY_SECONDS = 15.0
SHARES = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2)
"""Loads, as shares of the rate at which four clients that wait for their answers are answered."""

BUSY = 0.85
"""From this load on, batches have all sizes."""

DRAWN = ("a day in an hour", "ten times within 5 min", "ten times at once")
INCREASE = 'sum(increase(nv_inference_{}_duration_us{{model="encoder"}}[{}s]))'


@dataclass(frozen=True)
class Measured:
    """What a load does to the service.

    Attributes:
        rate: Requests per second.
        signal: As Prometheus has it.
        median: Seconds to the answer.
        p95: The same, 95th percentile.
    """

    rate: float
    signal: float
    median: float
    p95: float


def test_the_cluster_follows_its_load(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    draw = random.Random(1)
    measured: list[Measured] = []
    with Service(repository, outputs=tmp_path / "outputs") as service:
        started = service.wait_until_ready()["gRPC"]
        asyncio.run(overload.closed_loop(service.rest, CAPACITY_SECONDS, draw))
        capacity = asyncio.run(overload.closed_loop(service.rest, CAPACITY_SECONDS, draw))
        with Prometheus(service, tmp_path) as prometheus:
            prometheus.wait_for_scrape()
            batches = [_batches(service)]
            for share in SHARES:
                began = time.monotonic()
                measured.append(_measure(service, prometheus, capacity * share, draw))
                took = time.monotonic() - began
                batches.append(_batches(service))
    # Between two batches others use the cores, most of all under overload, which was the last load.
    busy = sum(seconds for seconds, _ in _between(*batches[-2:]).values()) / took
    computed = _between(batches[SHARES.index(BUSY)], batches[-1])
    mean = {size: seconds / count for size, (seconds, count) in computed.items()}
    largest = max(mean)
    assert set(mean) == set(range(1, largest + 1))
    lengths = [_seconds(SAMPLES / name) for name in CLIPS]
    server = scaling.Server(
        batches=tuple(mean[size] / busy for size in range(1, largest + 1)),
        inferring=busy,
        weights=tuple(length / statistics.fmean(lengths) for length in lengths),
        beside=measured[0].median - mean[1],
    )
    server.save()
    show(f"the service was ready after {started:.0f} s\n")
    scaler = scaling.Scaler(target=values()["autoscaling"]["waiting"])
    compared = [_beside_simulated(server, each) for each in measured]
    titles = ("requests/s", "signal", "simulated", "95th percentile", "simulated")
    show(table(titles, compared) + "\n")
    rows = [
        (name, f"{wait:g} s", *_summary(load, load.run(server, scaler, Cluster(max_wait=wait))))
        for name, load in scaling.LOADS.items()
        for wait in (30.0, 2.0)
    ]
    show(
        table(
            (
                "load",
                "`max_wait`",
                "95th percentile",
                "refused",
                "too few replicas for",
                "turns",
                "most",
                "at the end",
            ),
            rows,
        )
    )
    _draw(server, scaler, RESULTS / "scaling.png")


def _measure(
    service: Service, prometheus: Prometheus, rate: float, draw: random.Random
) -> Measured:
    """Puts one load on the service."""

    async def load() -> list[overload.Sent]:
        return await asyncio.gather(*await overload.open_loop(service.rest, rate, SECONDS, draw))

    began = time.time()
    sent = asyncio.run(load())
    assert {each.status for each in sent} <= {200, 429}, service.said
    prometheus.wait_for_scrape()
    waited, computed = (
        sum(prometheus.values(INCREASE.format(part, math.ceil(time.time() - began))))
        for part in ("queue", "compute_infer")
    )
    took = [each.since_due for each in sent if each.status == 200]
    signal = scaling.Scaler.signal(waited, computed)
    return Measured(rate, signal, float(np.median(took)), float(np.percentile(took, 95)))


def _summary(load: scaling.Load, course: scaling.Course) -> tuple[str, ...]:
    """What a load does to the simulated cluster."""
    return (
        f"{course.p95:.2f} s",
        f"{course.share_refused:.1%}",
        f"{course.lag(load.at):.0f} s",
        str(course.turns),
        str(max(course.replicas)),
        str(course.replicas[-1]),
    )


def _draw(server: scaling.Server, scaler: scaling.Scaler, path: Path) -> None:
    """Draws load, replicas, signal and answers of each course with a `max_wait` of 2 s."""
    figure, axes = plt.subplots(
        2, len(DRAWN), figsize=(12, 5.5), sharex="col", sharey="row", layout="constrained"
    )
    for column, name in enumerate(DRAWN):
        load = scaling.LOADS[name]
        course = load.run(server, scaler, Cluster(max_wait=2.0))
        minutes = np.array(course.times) / 60
        above, below = axes[:, column]
        above.set_title(name)
        above.step(minutes, course.replicas, where="post", label="replicas")
        above.plot(minutes, [load.at(when) for when in course.times], label="replicas needed")
        when, took, *_ = np.array(course.answered).T
        below.plot(when / 60, took, ".", markersize=0.5, color="tab:gray")
        below.plot([], [], ".", color="tab:gray", label="seconds to the answer")
        below.plot(minutes, course.signals, label="signal")
        below.axhline(scaler.target, linewidth=0.8, color="tab:red", label="its target")
        below.set_xlabel("minutes")
    for axis in axes[:, 0]:
        axis.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=80)


def _batches(service: Service) -> dict[int, tuple[float, int]]:
    """The seconds of the encoder's batches so far, and their number, by their size."""
    triton = InferenceServerClient(service.grpc_url)
    try:
        [stats] = triton.get_inference_statistics("encoder").model_stats
    finally:
        triton.close()
    return {
        batch.batch_size: (batch.compute_infer.ns / 1e9, batch.compute_infer.count)
        for batch in stats.batch_stats
    }


def _between(
    before: dict[int, tuple[float, int]], after: dict[int, tuple[float, int]]
) -> dict[int, tuple[float, int]]:
    """The batches between two readings."""
    nothing = (0.0, 0)
    return {
        size: (seconds - before.get(size, nothing)[0], count - before.get(size, nothing)[1])
        for size, (seconds, count) in after.items()
    }


def _beside_simulated(server: scaling.Server, measured: Measured) -> tuple[str, ...]:
    """One load as measured and as simulated."""
    course = scaling.steady(server, measured.rate, SECONDS)
    waited = sum(waits for *_, waits, _ in course.answered)
    computed = sum(took for *_, took in course.answered) * server.inferring
    return (
        f"{measured.rate:.1f}",
        f"{measured.signal:.2f}",
        f"{scaling.Scaler.signal(waited, computed):.2f}",
        f"{measured.p95:.2f} s",
        f"{course.p95:.2f} s",
    )


def _seconds(path: Path) -> float:
    with av.open(path) as file:
        return float(file.duration / av.time_base)
