"""One load: so many clients, or so many arrivals a second, for so long; and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.corpus import Clip
from benchmarks.triton_stats import Stats, total


@dataclass(frozen=True)
class Load:
    """What is sent.

    Attributes:
        name: For the report; loads of one name are measured together.
        protocol: ``gRPC`` or ``REST``.
        seconds: For how long new clips are sent.
        clips: Which.
        clients: Clients that send the next clip when they have their answer: a closed loop.
        arrivals: Clips per second at random times, whatever the answers do: an open loop. Then
            there are no clients.
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
        clip: Which.
        due: When it was to be sent, in seconds since the load began.
        latency: Seconds from then to its answer or error.
        error: What went wrong, empty when nothing did.
    """

    clip: Clip
    due: float
    latency: float
    error: str = ""


@dataclass(frozen=True)
class Measurement:
    """What came of a load.

    Attributes:
        load: The load.
        requests: Every clip sent.
        wall: Seconds from its begin to the last answer.
        models: Triton's statistics over that time.
        generator: Seconds of processor time that sending took.
    """

    load: Load
    requests: Sequence[Request]
    wall: float
    models: Stats
    generator: float

    def __add__(self, other: Measurement) -> Measurement:
        """The same load, measured twice."""
        return Measurement(
            self.load,
            [*self.requests, *other.requests],
            self.wall + other.wall,
            total(self.models, other.models),
            self.generator + other.generator,
        )
