"""What is measured, in this order: one client alone, the target, two sweeps, a steady run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import corpus
from benchmarks.corpus import Clip
from benchmarks.launch import LaunchError
from benchmarks.measurement import Load, Measurement
from benchmarks.summary import SHORT_SECONDS, audio_rate, latencies

MIXED_CLIENTS = 8
"""Number of clients that the report compares with the bare encoder; always in the sweep."""

SATURATED_GAIN = 1.05
"""The server is saturated if twice the clients gain less than this: more would only wait."""

STEADY_SHARE = 0.7


@dataclass(frozen=True)
class Profile:
    """How much is measured. A load lasts longer than its seconds if its round of clips does.

    Attributes:
        lengths: Lengths of the clips in a round, in seconds.
        alone: Seconds of the load of one client with clips of 10 s.
        target: Seconds of the load that is compared with the target.
        clients: Numbers of clients in the closed sweep, which ends early at saturation.
        level: Seconds per number of clients.
        rounds: Repetitions of the closed sweep. A machine's speed drifts; taking turns spreads the
            drift over all numbers of clients.
        shares: Arrival rates of the open sweep, as shares of the closed sweep's highest rate.
        arrivals: Seconds per arrival rate.
        steady: Seconds of the last, long run.
    """

    lengths: tuple[int, ...]
    alone: float
    target: float
    clients: tuple[int, ...]
    level: float
    rounds: int
    shares: tuple[float, ...]
    arrivals: float
    steady: float

    def stretched(self, factor: float) -> Profile:
        """The same profile with longer or shorter loads."""
        return replace(
            self,
            alone=self.alone * factor,
            target=self.target * factor,
            level=self.level * factor,
            arrivals=self.arrivals * factor,
            steady=self.steady * factor,
        )


FULL = Profile(
    lengths=corpus.SECONDS,
    alone=30,
    target=60,
    clients=(1, 2, 4, 8, 16, 32),
    level=30,
    rounds=2,
    shares=(0.3, 0.5, 0.7, 0.9, 1.1),
    arrivals=40,
    steady=180,
)
QUICK = Profile(
    lengths=(1, 2, 3, 5, 10, 30),
    alone=5,
    target=12,
    clients=(1, 4, 8),
    level=8,
    rounds=1,
    shares=(0.5, 0.9),
    arrivals=8,
    steady=12,
)


@dataclass(frozen=True)
class Results:
    """All measurements.

    Attributes:
        alone: One client with WAV files of 10 s, by protocol.
        target: The clients of the target with clips up to 10 s, by protocol.
        closed: All clips over gRPC, by number of clients.
        opened: All clips over gRPC at random times, by clips per second.
        steady: The same for longer, at a steady share of the server's capacity.
    """

    alone: Mapping[str, Measurement]
    target: Mapping[str, Measurement]
    closed: Mapping[int, Measurement]
    opened: Mapping[float, Measurement]
    steady: Measurement

    def __iter__(self) -> Iterator[Measurement]:
        for group in (self.alone, self.target, self.closed, self.opened):
            yield from group.values()
        yield self.steady


def measure(
    go: Callable[[Load], Measurement], protocols: Collection[str], profile: Profile, clients: int
) -> Results:
    """Measures everything in a profile.

    Args:
        go: Puts a load on the service and measures it.
        protocols: The service's protocols: ``gRPC`` and perhaps ``REST``.
        profile: How much to measure.
        clients: Number of clients for the target.

    Raises:
        LaunchError: The service answers nothing.
    """
    everything = [clip for clip in corpus.clips() if clip.seconds in profile.lengths]
    short = [clip for clip in everything if clip.seconds <= SHORT_SECONDS]
    wav = [clip for clip in short if clip.name == f"{SHORT_SECONDS}s.wav"]

    def check(measured: Measurement) -> Measurement:
        if not latencies(measured.requests):
            raise LaunchError(
                f"nothing to measure, because no request was answered ({measured.load.name}): "
                f"{measured.requests[0].error}"
            )
        return measured

    alone = {
        protocol: check(go(Load(f"alone, {protocol}", protocol, profile.alone, wav, clients=1)))
        for protocol in protocols
    }
    target = {
        protocol: go(
            Load(f"{clients} clients, short, {protocol}", protocol, profile.target, short, clients)
        )
        for protocol in protocols
    }

    closed: dict[int, Measurement] = {}
    for turn in range(profile.rounds):
        # The first round finds the saturation; the others repeat its numbers of clients.
        for count in tuple(closed) if turn else profile.clients:
            name = f"{count} client{'s' if count > 1 else ''}"
            measured = check(go(Load(name, "gRPC", profile.level, everything, clients=count)))
            closed[count] = closed[count] + measured if turn else measured
            if not turn and saturated(closed):
                break

    capacity = max(map(audio_rate, closed.values())) / mean_seconds(everything)

    def arriving(name: str, share: float, seconds: float) -> Measurement:
        rate = capacity * share
        name = f"{name}, {rate:.2f}/s"
        return go(Load(name, "gRPC", seconds, everything, arrivals=rate))

    opened = {
        capacity * share: arriving(f"{share:.0%} of capacity", share, profile.arrivals)
        for share in profile.shares
    }
    steady = arriving("steady", STEADY_SHARE, profile.steady)
    return Results(alone, target, closed, opened, steady)


def saturated(closed: Mapping[int, Measurement]) -> bool:
    """Whether the last step of a sweep gained so little that more clients would gain nothing."""
    *_, before, last = [None, *closed]
    if before is None or last is None or last < MIXED_CLIENTS:
        return False
    return audio_rate(closed[last]) < SATURATED_GAIN * audio_rate(closed[before])


def mean_seconds(clips: Sequence[Clip]) -> float:
    """Mean length of the clips."""
    return sum(clip.seconds for clip in clips) / len(clips)
