"""Triton's statistics: how long requests queued and were computed, and in which batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonclient.grpc import InferenceServerClient

SECONDS = {
    "queue": ("queue",),
    "compute": ("compute_input", "compute_infer", "compute_output"),
}
"""The parts of a request's time, and Triton's names for them."""


@dataclass(frozen=True)
class ModelStats:
    """One model's counts, since its start or during a load.

    Attributes:
        requests: Requests answered.
        seconds: Seconds in the queue, and of computing and copying, summed over these requests;
            a batch counts once for each request in it.
        batches: Executions by batch size.
        busy: Seconds of computing; a batch counts once.
    """

    requests: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    batches: Mapping[int, int] = field(default_factory=dict)
    busy: float = 0.0

    def __sub__(self, earlier: ModelStats) -> ModelStats:
        return self._joined(earlier, -1)

    def __add__(self, other: ModelStats) -> ModelStats:
        return self._joined(other, 1)

    def _joined(self, other: ModelStats, sign: int) -> ModelStats:
        sizes = sorted({*self.batches, *other.batches})
        batches = {n: self.batches.get(n, 0) + sign * other.batches.get(n, 0) for n in sizes}
        return ModelStats(
            self.requests + sign * other.requests,
            {
                name: self.seconds.get(name, 0.0) + sign * other.seconds.get(name, 0.0)
                for name in SECONDS
            },
            {size: count for size, count in batches.items() if count},
            self.busy + sign * other.busy,
        )

    def mean(self, name: str) -> float | None:
        """Mean seconds per request of one part; None without requests."""
        return self.seconds[name] / self.requests if self.requests else None

    @property
    def mean_batch(self) -> float | None:
        """Mean requests per execution; None without executions."""
        executions = sum(self.batches.values())
        if not executions:
            return None
        return sum(size * count for size, count in self.batches.items()) / executions


Stats = Mapping[str, ModelStats]
"""Counts by model."""


class Statistics:
    """Reads a server's statistics.

    Args:
        authority: ``host:port`` of its gRPC endpoint.
    """

    def __init__(self, authority: str) -> None:
        self._server = InferenceServerClient(authority)

    def read(self) -> Stats:
        """All models' counts since the server's start."""
        answer = self._server.get_inference_statistics()
        return {model.name: _parse(model) for model in answer.model_stats}

    def version(self) -> str:
        """The server's version."""
        return str(self._server.get_server_metadata().version)

    def close(self) -> None:
        """Closes the connection."""
        self._server.close()


def _parse(model: object) -> ModelStats:
    stats = model.inference_stats  # type: ignore[attr-defined]
    batches = model.batch_stats  # type: ignore[attr-defined]
    return ModelStats(
        stats.success.count,
        {
            name: sum(getattr(stats, part).ns for part in parts) / 1e9
            for name, parts in SECONDS.items()
        },
        {batch.batch_size: batch.compute_infer.count for batch in batches},
        sum(batch.compute_infer.ns for batch in batches) / 1e9,
    )


def difference(after: Stats, before: Stats) -> Stats:
    """The counts between two readings."""
    return {name: after[name] - before.get(name, ModelStats()) for name in after}


def total(one: Stats, other: Stats) -> Stats:
    """The sum of two differences."""
    nothing = ModelStats()
    return {name: one.get(name, nothing) + other.get(name, nothing) for name in {*one, *other}}
