"""Minutes of dense, mixed traffic: no wrong answers, and nothing grows.

Clients work in rounds, over gRPC, HTTP and REST, with good and bad files. Some give up, disconnect
or are killed. Each answer is compared with the answer to the same clip at the start. After each
round, what the idle service holds is measured.
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
    """Where the leak detector is wrong, in a sentence; None if it is right about every leak.

    It judges processes that leak on purpose.
    """
    for kind in leaks.LEAKS:
        grown = {verdict.name for verdict in leaks.control(kind) if verdict.grown}
        if grown != {kind} - {"nothing"}:
            return f"{kind} leaked, but the detector found {sorted(grown) or 'nothing'}"
    return None


def soak(
    service: Service, rounds: int, seconds: float, seed: int, bursts: int = 3
) -> tuple[Traffic, list[Usage]]:
    """Lets clients work in rounds.

    Args:
        service: A ready service with outputs that keeps `KEEP_RESULTS` results.
        rounds: Number of rounds; the first half is a warm-up with twice as many clients.
        seconds: Length of a round.
        seed: Seed for what the clients do.
        bursts: How often all clients send the longest clip at once, before the first round.

    Returns:
        What happened, and what the service held after each round that followed the warm-up.
    """
    assert service.outputs is not None
    traffic = Traffic(service, seed)
    watch = Watch(service.pid, service.outputs, KEEP_RESULTS)
    samples = []
    # The encoder's caches and the heap grow with the largest batches and with new mixes of lengths.
    # After a thousand requests, new mixes are rare.
    asyncio.run(traffic.burst(CLIENTS * 2, bursts))
    for number in range(rounds):
        # Twice the clients: memory that grows with concurrency must grow before it is measured.
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
