"""Metrics for Prometheus, and the log line of each request."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections import Counter as Counts
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from emotion2vec_client import ModelInfo

log = logging.getLogger(__name__)

# Do not export a `_created` series for each metric: nothing uses it.
disable_created_metrics()  # type: ignore[no-untyped-call]

BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

LAG_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

RESTARTS_BYTES = 4096
"""More than the supervisor ever writes."""


@dataclass
class Observed:
    """A request in progress.

    Attributes:
        outcomes: For each recording of the request ``ok``, or the code of the problem.
        seconds: Length of the recognised audio.
        model: Triton's model for such a request, for the log; empty until it is known. For a clip
            it is the ensemble, whose two steps the gateway calls itself.
        id: The request's name in the log and in the response header X-Request-ID.
    """

    outcomes: list[str] = field(default_factory=lambda: ["ok"])
    seconds: float = 0.0
    model: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _counting: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def outcome(self) -> str:
        """The outcome of the first recording; setting it sets all."""
        return self.outcomes[0]

    @outcome.setter
    def outcome(self, outcome: str) -> None:
        self.outcomes = [outcome] * len(self.outcomes)

    @property
    def summary(self) -> str:
        """The outcome; for several recordings, how many have each."""
        if len(self.outcomes) == 1:
            return self.outcome
        return " ".join(f"{name}:{count}" for name, count in Counts(self.outcomes).items())

    def hand_over(self) -> ExitStack:
        """For work that outlives the request: counts it when the returned stack is closed."""
        return self._counting.pop_all()


class Metrics:
    """Counts of one gateway, in its own registry.

    Args:
        restarts: File descriptor of the supervisor's restart counts; None without a supervisor.
    """

    def __init__(self, restarts: int | None = None) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "emotion2vec_requests",
            "Recordings to recognise, by source and outcome",
            ["source", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "emotion2vec_request_seconds",
            "Time to the answer for each recording, upload included",
            ["source"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "emotion2vec_requests_in_flight",
            "Requests and timelines in progress",
            registry=self._registry,
        )
        self._audio = Counter(
            "emotion2vec_audio_seconds",
            "Seconds of audio recognised, by source",
            ["source"],
            registry=self._registry,
        )
        self._model = Gauge(
            "emotion2vec_model_info",
            "The model that Triton serves; absent while Triton does not answer",
            ["checkpoint", "revision", "precision", "weights"],
            registry=self._registry,
        )
        self._ready = Gauge(
            "emotion2vec_ready",
            "1 if Triton can recognise clips, as GET /ready says; otherwise 0",
            registry=self._registry,
        )
        self._sessions = Gauge(
            "emotion2vec_streams", "Streams that are open", registry=self._registry
        )
        self._measurements = Counter(
            "emotion2vec_stream_measurements",
            "Measurements of streams: final, interim, skipped (no time for an interim one), failed",
            ["kind"],
            registry=self._registry,
        )
        self._lags = Histogram(
            "emotion2vec_stream_lag_seconds",
            "Time from the end of speech to its final measurement, and from the last sample of an "
            "interim measurement to that",
            ["kind"],
            buckets=LAG_BUCKETS,
            registry=self._registry,
        )
        # Among others, when the process started: a restart is seen without a supervisor, too.
        ProcessCollector(registry=self._registry)
        if restarts is not None:
            self._registry.register(_Restarts(restarts))

    @contextmanager
    def request(self, source: str) -> Iterator[Observed]:
        """Counts and times one request from ``api``, ``page`` or ``timeline``."""
        with ExitStack() as counting:
            observed = Observed(_counting=counting)
            counting.enter_context(self._counted(source, observed))
            yield observed

    @contextmanager
    def _counted(self, source: str, observed: Observed) -> Iterator[None]:
        began = time.monotonic()
        with self._in_flight.track_inprogress():
            try:
                yield
            except BaseException:
                observed.outcome = "failed"
                raise
            finally:
                seconds = time.monotonic() - began
                for outcome in observed.outcomes:
                    self._requests.labels(source, outcome).inc()
                    self._seconds.labels(source).observe(seconds)
                self._audio.labels(source).inc(observed.seconds)
                _log(source, observed, seconds)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Counts a stream while it is open."""
        with self._sessions.track_inprogress():
            yield

    def measured(self, kind: str, lag: float | None = None) -> None:
        """Counts a measurement of a stream.

        Args:
            kind: ``final``, ``interim``, ``skipped`` or ``failed``.
            lag: Seconds since the audio that decided it arrived, if it was sent.
        """
        self._measurements.labels(kind).inc()
        if lag is not None:
            self._lags.labels(kind).observe(lag)

    def render(self, model: ModelInfo | None, ready: bool) -> bytes:
        """Returns the metrics in Prometheus's text format.

        Args:
            model: The model that Triton serves now; None if it does not answer.
            ready: Whether Triton can recognise clips now.
        """
        self._ready.set(ready)
        self._model.clear()
        if model is not None:
            labels = (model.checkpoint, model.revision or "", model.precision, model.weights)
            self._model.labels(*labels).set(1)
        return generate_latest(self._registry)


def _log(source: str, observed: Observed, seconds: float) -> None:
    fields = {
        "id": observed.id,
        "source": source,
        "model": observed.model or "-",
        "seconds": round(seconds, 3),
        "outcome": observed.summary,
    }
    log.info("request", extra={"fields": fields})


class _Restarts(Collector):
    """Reads the supervisor's counts at each scrape."""

    def __init__(self, file: int) -> None:
        self._file = file

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "emotion2vec_restarts",
            "How often the supervisor restarted a part that had died or hung",
            labels=["part"],
        )
        for part, count in json.loads(os.pread(self._file, RESTARTS_BYTES, 0)).items():
            family.add_metric([part], count)
        yield family
