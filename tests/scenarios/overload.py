"""Overload of five times the capacity: accepted requests are answered soon, others refused at once.

Measures the service's capacity with as many clients as fill a batch, each of which waits for its
answer. Then sends five times that rate to REST, at random moments and without waiting.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from tests.scenarios import rest
from tests.scenarios.leaks import Usage, Watch
from tests.scenarios.traffic import CLIPS

FACTOR = 5.0
CAPACITY_CLIENTS = 4
SINGLES = 10
SAMPLE_SECONDS = 2.0
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.1
SEED = 1


@dataclass(frozen=True)
class Sent:
    """One request under overload.

    Attributes:
        status: HTTP status of the response.
        since_due: Seconds from the time at which it was due to its response.
        since_upload: Seconds from the end of its upload to its response.
    """

    status: int
    since_due: float
    since_upload: float


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        capacity: Answers per second with a few clients that wait for their answers.
        singles: Seconds that single requests took before the overload.
        sent: All requests under overload.
        back: Seconds from the last request to a single request that was as fast as before.
        usages: What the service held under overload.
        delays: Seconds by which pauses of this process were too long under overload: how late
            this machine resumes a process that has work to do.
    """

    capacity: float
    singles: list[float]
    sent: list[Sent]
    back: float
    usages: list[Usage]
    delays: list[float]

    def seconds(self, status: int, attribute: str) -> list[float]:
        """One attribute of all responses with this status."""
        return [getattr(sent, attribute) for sent in self.sent if sent.status == status]

    @property
    def others(self) -> int:
        """Requests that were neither answered nor refused."""
        return sum(sent.status not in (200, 429) for sent in self.sent)


async def overload(
    address: rest.Address,
    watch: Watch,
    capacity_seconds: float,
    seconds: float,
    patience: float,
) -> Measured:
    """Measures one service.

    Args:
        address: Address of its REST endpoint.
        watch: Measures what it holds.
        capacity_seconds: How long its capacity is measured.
        seconds: How long the overload lasts, after a warm-up of half that length.
        patience: Seconds after which it counts as not recovered.
    """
    draw = random.Random(SEED)
    # Warm up first: each new length is slower the first time.
    await closed_loop(address, capacity_seconds, draw)
    capacity = await closed_loop(address, capacity_seconds, draw)
    singles = [(await _single(address)).seconds for _ in range(SINGLES)]
    # Warm up under overload too: only it makes full batches of many mixes, which grow memory.
    await asyncio.gather(*await open_loop(address, capacity * FACTOR, seconds / 2, draw))
    usages = [watch.usage()]
    delays: list[float] = []
    beside = [asyncio.create_task(_sample(watch, usages)), asyncio.create_task(_pause(delays))]
    sent = await open_loop(address, capacity * FACTOR, seconds, draw)
    for task in beside:
        task.cancel()
    back = await _recovery(address, max(singles), patience)
    return Measured(capacity, singles, [await each for each in sent], back, usages, delays)


async def closed_loop(address: rest.Address, seconds: float, draw: random.Random) -> float:
    """Answers per second."""
    end = time.perf_counter() + seconds
    answered = 0

    async def client() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            answer = await rest.ask(address, rest.upload(draw.choice(list(CLIPS.values()))))
            if answer.status == 200:
                answered += 1
            else:
                # The gateway may refuse until it knows how fast the service is.
                await asyncio.sleep(RETRY_SECONDS)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CAPACITY_CLIENTS)))
    return answered / (time.perf_counter() - began)


async def open_loop(
    address: rest.Address, rate: float, seconds: float, draw: random.Random
) -> list[asyncio.Task[Sent]]:
    """Sends requests at random moments, and returns when the last one has been sent."""
    began = due = time.perf_counter()
    sending = []
    while (due := due + draw.expovariate(rate)) < began + seconds:
        await asyncio.sleep(due - time.perf_counter())
        request = rest.upload(draw.choice(list(CLIPS.values())))
        sending.append(asyncio.create_task(_send(address, request, due)))
    return sending


async def _send(address: rest.Address, request: bytes, due: float) -> Sent:
    answer = await rest.ask(address, request)
    return Sent(answer.status, time.perf_counter() - due, answer.seconds)


async def _single(address: rest.Address) -> rest.Answer:
    return await rest.ask(address, rest.upload(CLIPS["happy.wav"]))


async def _recovery(address: rest.Address, normal: float, patience: float) -> float:
    """Seconds until a single request is answered in ``normal`` seconds; infinite if never."""
    began = time.perf_counter()
    while time.perf_counter() - began < patience:
        answer = await _single(address)
        if answer.status == 200 and answer.seconds <= normal:
            return time.perf_counter() - began
        if answer.status != 200:
            await asyncio.sleep(RETRY_SECONDS)
    return float("inf")


async def _sample(watch: Watch, usages: list[Usage]) -> None:
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        usages.append(await asyncio.to_thread(watch.usage))


async def _pause(delays: list[float]) -> None:
    while True:
        due = time.perf_counter() + PAUSE_SECONDS
        await asyncio.sleep(PAUSE_SECONDS)
        delays.append(time.perf_counter() - due)
