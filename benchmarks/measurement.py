"""A load (a number of clients or of arrivals per second, for some time) and its measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.corpus import Clip
from benchmarks.triton_stats import Stats, total


@dataclass(frozen=True)
class Load:
    """What is sent, and how.

    Attributes:
        name: Name in the report; loads with the same name are measured together.
        protocol: ``gRPC`` or ``REST``.
        seconds: How long new clips are sent.
        clips: The clips to send.
        clients: Clients that each wait for an answer before the next clip: a closed loop.
        arrivals: Clips per second, sent at random times without waiting for answers: an open loop.
            Then `clients` is 0.
    """

    name: str
    protocol: str
    seconds: float
    clips: Sequence[Clip] = field(repr=False)
    clients: int = 0
    arrivals: float = 0.0


@dataclass(frozen=True)
class Request:
    """One clip sent.

    Attributes:
        clip: The clip.
        due: When it was due to be sent, in seconds since the load began.
        latency: Seconds from then to its answer or error.
        error: What went wrong; empty if nothing did.
    """

    clip: Clip
    due: float
    latency: float
    error: str = ""


@dataclass(frozen=True)
class Measurement:
    """The results of a load.

    Attributes:
        load: The load.
        requests: Every clip sent.
        wall: Seconds from its start to the last answer.
        models: Triton's statistics for that time.
        generator: CPU time of the load generator, in seconds.
    """

    load: Load
    requests: Sequence[Request]
    wall: float
    models: Stats
    generator: float

    def __add__(self, other: Measurement) -> Measurement:
        """Joins two measurements of the same load."""
        return Measurement(
            self.load,
            [*self.requests, *other.requests],
            self.wall + other.wall,
            total(self.models, other.models),
            self.generator + other.generator,
        )
