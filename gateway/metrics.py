"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass
class Observed:
    """One request while it runs.

    Attributes:
        outcome: ``ok``, or the code of the problem.
    """

    outcome: str = "ok"


class Metrics:
    """Counts of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "emotion2vec_requests",
            "Recognitions asked for, by where they came from and what became of them",
            ["source", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "emotion2vec_request_seconds",
            "Time to the answer, uploads included",
            ["source"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "emotion2vec_requests_in_flight",
            "Recognitions being worked on",
            registry=self._registry,
        )

    @contextmanager
    def request(self, source: str) -> Iterator[Observed]:
        """Counts and times one request from ``api`` or ``page``, or a job, ``timeline``."""
        observed = Observed()
        with self._in_flight.track_inprogress(), self._seconds.labels(source).time():
            try:
                yield observed
            except BaseException:
                observed.outcome = "failed"
                raise
            finally:
                self._requests.labels(source, observed.outcome).inc()

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)
