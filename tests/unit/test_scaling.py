"""The chart's autoscaling, on a simulated cluster whose replicas serve as a measured one does.

`make proofs ARGS="-k cluster_follows"` measures a service, compares it with the simulation, and
writes tests/scenarios/scaling.json.
"""

from __future__ import annotations

import pytest

from tests.kubernetes import values
from tests.scenarios.scaling import LOADS, Cluster, Scaler, Server

SERVER = Server.load()
VALUES = values()["autoscaling"]
SCALER = Scaler(target=VALUES["waiting"], down=VALUES["downSeconds"])
TARGET_SECONDS = 2.0
FAST = Cluster(max_wait=2.0)
"""With the gateway's setting for fast answers under overload."""


@pytest.mark.parametrize("name", LOADS)
def test_answers_stay_fast_and_the_cluster_small(name: str) -> None:
    load = LOADS[name]
    course = load.run(SERVER, SCALER, FAST)
    assert course.p95 < TARGET_SECONDS
    # As many as at the start, if the load is.
    needed = load.at(load.seconds)
    assert needed <= course.replicas[-1] <= needed + 2
    assert course.turns <= (3 if "day" in name else 1)


@pytest.mark.parametrize(
    "name", ["a day in an hour", "ten times within 5 min", "four times at once"]
)
def test_it_follows_its_load_within_30_s(name: str) -> None:
    load = LOADS[name]
    course = load.run(SERVER, SCALER, FAST)
    assert course.lag(load.at) <= 30
    assert course.share_refused < 0.03


def test_a_signal_without_a_limit_asks_for_too_many_replicas() -> None:
    """Why the chart does not scale on queue time divided by compute time: it has no limit."""

    class Ratio(Scaler):
        @staticmethod
        def signal(waited: float, computed: float) -> float:
            return waited / computed if computed else 0.0

    load = LOADS["steady"]
    limited = load.run(SERVER, SCALER, FAST)
    unlimited = load.run(SERVER, Ratio(target=1.0, down=SCALER.down), FAST)
    assert max(limited.replicas) < max(unlimited.replicas)
