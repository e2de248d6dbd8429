"""Hours of mixed traffic in minutes: no wrong answer, and nothing that grows.

Clients work in rounds: over gRPC, HTTP and REST, with good and bad files, some of which give up,
hang up or are killed at work. Each good answer is compared with that clip's answer at the start.
What the service holds is weighed after each round, in silence.
"""

from __future__ import annotations

import asyncio

from benchmarks.service import Service
from tests.scenarios import leaks
from tests.scenarios.leaks import Usage, Watch
from tests.scenarios.traffic import Traffic

CLIENTS = 6
KEEP_RESULTS = 50


def blind_spots() -> str | None:
    """What the detector fails to see, or sees where there is nothing; None when all is well.

    Processes that leak on purpose prove that a leak would be seen.
    """
    for kind in leaks.LEAKS:
        grown = {verdict.name for verdict in leaks.control(kind) if verdict.grown}
        if grown != {kind} - {"nothing"}:
            return f"where {kind} leaked, it saw {sorted(grown) or 'nothing'}"
    return None


def soak(
    service: Service, rounds: int, seconds: float, seed: int, bursts: int = 3
) -> tuple[Traffic, list[Usage]]:
    """Lets clients work in rounds.

    Args:
        service: Ready, with `KEEP_RESULTS` and outputs.
        rounds: How many; the first half, with twice as many clients, warms up.
        seconds: Length of a round.
        seed: Of what the clients do.
        bursts: How often the longest clip comes from everyone at once, before all else.

    Returns:
        What happened, and what was held after each round that was not for warming up.
    """
    assert service.outputs is not None
    traffic = Traffic(service, seed)
    watch = Watch(service.pid, service.outputs, KEEP_RESULTS)
    samples = []
    # The encoder's caches and the heap grow with the largest batches, and with ever rarer mixes of
    # lengths: after a thousand requests there is little that they have not seen.
    asyncio.run(traffic.burst(CLIENTS * 2, bursts))
    for number in range(rounds):
        # What grows with the number of requests at once shall have grown when it counts.
        warming = number < rounds // 2
        asyncio.run(traffic.run(seconds, CLIENTS * 2 if warming else CLIENTS))
        usage = watch.settled()
        if not warming:
            samples.append(usage)
        print(
            f"round {number + 1} of {rounds}{' (warm-up)' if warming else ''}: "
            f"{traffic.counts.total()} requests, {usage.memory:.1f} MB, "
            f"{usage.descriptors} descriptors, {usage.shared:.1f} MB in /dev/shm",
            flush=True,
        )
    return traffic, samples
