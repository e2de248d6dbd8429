"""A simulated cluster: replicas of Triton that an autoscaler adds and removes while load changes.

The replicas serve as a measured one does. The autoscaler is Kubernetes' own algorithm
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details), with
the chart's signal, threshold and policies.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from server.settings import CONNECTION_SECONDS

STEP = 0.02
"""Seconds from one look at the replicas to the next."""

RECORDED = Path(__file__).with_name("scaling.json")
"""What the proof measured last."""


@dataclass(frozen=True)
class Server:
    """How one replica serves, as measured.

    Attributes:
        batches: Seconds that a batch of 1, 2, … requests takes in the encoder.
        inferring: The share of them that Triton counts as ``compute_infer``; between two batches,
            others use the cores.
        weights: Length of each clip that is sent, as a share of the mean.
        beside: Seconds of an answer outside the encoder and its queue.
    """

    batches: tuple[float, ...]
    inferring: float
    weights: tuple[float, ...]
    beside: float

    @property
    def capacity(self) -> float:
        """Requests per second with full batches."""
        return len(self.batches) / self.batches[-1]

    def save(self, path: Path = RECORDED) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path = RECORDED) -> Self:
        """Reads what `save` wrote."""
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for name in ("batches", "weights"):
            found[name] = tuple(found[name])
        return cls(**found)


@dataclass(frozen=True)
class Scaler:
    """The autoscaler, with the policies of the chart and the defaults of Kubernetes.

    Attributes:
        target: The signal that it aims at.
        least: Smallest number of replicas.
        most: Largest number of replicas.
        doubling: Seconds in which it may double their number.
        down: Seconds for which fewer must have been enough before one is removed, one a minute.
        interval: Seconds between two decisions.
        window: Seconds over which the signal is measured.
        scrape: Seconds between two readings of the counters.
        tolerance: It does nothing while the signal is this near to the target, as a share of it.
    """

    target: float
    least: int = 1
    most: int = 10
    doubling: int = 15
    down: int = 300
    interval: int = 15
    window: int = 30
    scrape: int = 5
    tolerance: float = 0.1

    @staticmethod
    def signal(waited: float, computed: float) -> float:
        """The share of its time at the encoder that a clip waits, as the chart's query has it."""
        return waited / (waited + computed) if waited + computed else 0.0

    def wish(self, ready: int, count: int, signal: float) -> int:
        """How many replicas are needed, if nothing else than the signal counted."""
        share = signal / self.target
        wish = count if abs(share - 1) <= self.tolerance else math.ceil(ready * share)
        return min(max(wish, self.least), self.most)


@dataclass(frozen=True)
class Cluster:
    """What is around the replicas.

    Attributes:
        start: Seconds from the decision to add a replica until it is ready.
        found: Seconds from then until the gateways send to it.
        max_wait: The gateway refuses a request that might take longer, in seconds.
    """

    start: float = 20.0
    found: float = CONNECTION_SECONDS
    max_wait: float = 30.0


@dataclass
class Replica:
    """One replica of the simulation."""

    ready: float
    found: float
    queue: deque[tuple[float, float]] = field(default_factory=deque)
    free: float = 0.0
    leaving: bool = False


@dataclass
class Course:
    """What happens.

    Attributes:
        times: Seconds of each decision.
        replicas: Replicas after each decision, ready or not.
        signals: The signal at each decision.
        answered: For each answered request when it arrived, its seconds to the answer, and those in
            the queue and in the encoder.
        refused: When each refused request arrived.
    """

    times: list[float] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)
    signals: list[float] = field(default_factory=list)
    answered: list[tuple[float, float, float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """Seconds within which 95 % of the answered requests were answered."""
        return float(np.percentile([answer for _, answer, *_ in self.answered], 95))

    @property
    def share_refused(self) -> float:
        """Refused requests, as a share of all."""
        return len(self.refused) / (len(self.refused) + len(self.answered))

    @property
    def turns(self) -> int:
        """How often it turns from adding replicas to removing them, or back."""
        moves = [after - before for before, after in itertools.pairwise(self.replicas)]
        signs = [move > 0 for move in moves if move]
        return sum(one != other for one, other in itertools.pairwise(signs))

    def lag(self, load: Callable[[float], float]) -> float:
        """The longest time in which there were fewer replicas than the load takes, in seconds."""
        longest, since = 0.0, self.times[0]
        for now, count in zip(self.times, self.replicas, strict=True):
            if count >= load(now):
                since = now
            longest = max(longest, now - since)
        return longest


def simulate(
    rate: Callable[[float], float],
    seconds: float,
    server: Server,
    scaler: Scaler,
    cluster: Cluster = Cluster(),
    seed: int = 0,
) -> Course:
    """Runs a cluster under load, from its smallest size.

    Args:
        rate: Requests per second at a time.
        seconds: Length of the run.
        server: How each replica serves.
        scaler: Decides how many replicas there are.
        cluster: What is around them.
        seed: Seed of the arrivals.
    """
    random = np.random.default_rng(seed)
    moments = np.arange(0, seconds, STEP)
    arriving = random.poisson([rate(now) * STEP for now in moments]).tolist()
    course = Course([0.0], [scaler.least], [0.0])
    replicas = [Replica(0.0, 0.0) for _ in range(scaler.least)]
    # When each batch ends, with its seconds in the queue and in the encoder, for all its requests.
    ending: list[tuple[float, float, float]] = []
    # Triton's counters as Prometheus has them, and what the autoscaler thought lately.
    scraped = deque([(0.0, 0.0, 0.0)])
    wished: deque[tuple[float, int]] = deque()
    for now, number in zip(moments.tolist(), arriving, strict=True):
        if number:
            found = [each for each in replicas if each.found <= now and not each.leaving]
        for _ in range(number):
            waiting = sum(len(each.queue) for each in found) / len(found)
            # The gateway estimates the time to the answer, and so counts its own batch.
            if (waiting + len(server.batches)) / server.capacity > cluster.max_wait:
                course.refused.append(now)
                continue
            # Several gateways that each take turns send as if by chance.
            to = found[int(random.integers(len(found)))]
            to.queue.append((now, server.weights[int(random.integers(len(server.weights)))]))
        for each in replicas:
            if each.queue and each.free <= now:
                ending.append(_compute(each, now, server, course))
        if now < scraped[-1][0] + scaler.scrape:
            continue
        # Triton counts what has ended.
        ended = [each for each in ending if each[0] <= now]
        ending = [each for each in ending if each[0] > now]
        _, waited, computed = scraped[-1]
        waited += sum(each[1] for each in ended)
        computed += sum(each[2] for each in ended)
        scraped.append((now, waited, computed))
        while scraped[0][0] < now - scaler.window:
            scraped.popleft()
        # One that leaves answers what it has accepted.
        replicas = [each for each in replicas if not each.leaving or each.queue or each.free > now]
        if now < course.times[-1] + scaler.interval:
            continue
        signal = scaler.signal(waited - scraped[0][1], computed - scraped[0][2])
        staying = [each for each in replicas if not each.leaving]
        ready = sum(each.ready <= now for each in staying)
        wished.append((now, scaler.wish(ready, len(staying), signal)))
        while wished[0][0] < now - scaler.down:
            wished.popleft()
        count = _decide(scaler, now, [wish for _, wish in wished], course)
        for _ in range(count - len(staying)):
            started = now + cluster.start
            replicas.append(Replica(started, started + cluster.found))
        for each in staying[count:]:
            each.leaving = True
        course.times.append(now)
        course.replicas.append(count)
        course.signals.append(signal)
    return course


def _compute(
    replica: Replica, now: float, server: Server, course: Course
) -> tuple[float, float, float]:
    """Takes a batch from the queue, and says when it ends and what Triton then counts."""
    size = min(len(server.batches), len(replica.queue))
    batch = [replica.queue.popleft() for _ in range(size)]
    took = server.batches[size - 1] * sum(cost for _, cost in batch) / size
    replica.free = now + took
    for arrived, _ in batch:
        waits = now - arrived
        course.answered.append((arrived, waits + took + server.beside, waits, took))
    waited = sum(now - arrived for arrived, _ in batch)
    return replica.free, waited, size * took * server.inferring


def _decide(scaler: Scaler, now: float, wishes: Sequence[int], course: Course) -> int:
    """Kubernetes' rule, within the policies."""
    count = course.replicas[-1]

    def within(seconds: int) -> list[int]:
        """The numbers of replicas in the last seconds."""
        latest = zip(reversed(course.times), reversed(course.replicas), strict=True)
        return [
            each for when, each in itertools.takewhile(lambda at: at[0] >= now - seconds, latest)
        ]

    if wishes[-1] > count:
        return min(wishes[-1], 2 * min(within(scaler.doubling)))
    if max(wishes) < count:
        return max(*wishes, count - 1) if max(within(60)) == count else count
    return count


def steady(server: Server, rate: float, seconds: float) -> Course:
    """Runs one replica under a steady load."""
    return simulate(lambda _: rate, seconds, server, Scaler(target=1.0, most=1))


@dataclass(frozen=True)
class Load:
    """A course of load.

    Attributes:
        at: The load at a time in seconds, as a multiple of what one replica can answer.
        seconds: Its length.
    """

    at: Callable[[float], float]
    seconds: float

    def run(self, server: Server, scaler: Scaler, cluster: Cluster) -> Course:
        """Runs a cluster under it."""
        capacity = server.capacity
        return simulate(lambda now: self.at(now) * capacity, self.seconds, server, scaler, cluster)


def _through(*points: tuple[float, float]) -> Load:
    """A load in straight lines between points: minutes and loads."""
    minutes, loads = zip(*points, strict=True)
    times = [60 * each for each in minutes]
    return Load(lambda now: float(np.interp(now, times, loads)), times[-1])


LOADS = {
    "steady": _through((0, 1.5), (20, 1.5)),
    "a day in an hour": Load(lambda now: 1.9 - 1.5 * math.cos(now * math.tau / 3600), 3600.0),
    "ten times within 5 min": _through((0, 0.4), (5, 0.4), (10, 4), (15, 4), (20, 0.4), (35, 0.4)),
    "four times at once": _through((0, 0.4), (5, 0.4), (5, 1.6), (15, 1.6), (15, 0.4), (28, 0.4)),
    "ten times at once": _through((0, 0.4), (5, 0.4), (5, 4), (15, 4), (15, 0.4), (33, 0.4)),
}
