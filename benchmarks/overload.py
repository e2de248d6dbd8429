"""Five times what the service can do: the accepted are answered soon, the refused told at once.

``python -m benchmarks.overload [--minutes 3]``, from the root. Starts the service with
E2V_MAX_WAIT=3, measures its capacity with as many clients as fill a batch, each of which waits for
its answer, and then sends five times that to REST, at random moments and waiting for nobody. The
exit code is 1 when a promise is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks import leaks, rest
from benchmarks.leaks import Usage, Watch
from benchmarks.processes import ROOT, Service, ServiceError, table
from benchmarks.traffic import CLIPS

FACTOR = 5.0
MAX_WAIT = 3.0
CAPACITY_SECONDS, CAPACITY_CLIENTS = 30.0, 4
SINGLES = 10
WEIGH_SECONDS = 2.0
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.1
RECOVERY_PATIENCE = 60.0
SEED = 1

ACCEPTED_P99 = 4.0
REFUSED_P99 = 0.1
BACK_SECONDS = 5.0


@dataclass(frozen=True)
class Sent:
    """One request under overload.

    Attributes:
        status: Of its answer.
        since_due: Seconds from when it was due to be sent until its answer.
        since_upload: Seconds from when it had been sent completely until its answer.
    """

    status: int
    since_due: float
    since_upload: float


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        capacity: Answers per second with a few clients that wait for their answers.
        singles: Seconds of single requests before.
        sent: Each request under overload.
        back: Seconds from the last one sent until a single request was answered as fast as before.
        usages: What the service held under overload.
        delays: Seconds by which a pause of our own was too long, time and again under overload:
            how late this machine lets a process go on that has something to do.
    """

    capacity: float
    singles: list[float]
    sent: list[Sent]
    back: float
    usages: list[Usage]
    delays: list[float]

    def seconds(self, status: int, attribute: str) -> list[float]:
        """One attribute of all answers with a status."""
        return [getattr(sent, attribute) for sent in self.sent if sent.status == status]


def main() -> int:
    """Runs the proof; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="emotion2vec-overload-") as folder:
        service = Service(options.model_repository, Path(folder), max_wait=MAX_WAIT)
        try:
            with service:
                measured = asyncio.run(
                    overload(service, CAPACITY_SECONDS, options.minutes * 60, RECOVERY_PATIENCE)
                )
        except ServiceError as error:
            print(f"overload: {error}", file=sys.stderr)
            return 1
    return report(measured)


async def overload(
    service: Service, capacity_seconds: float, seconds: float, patience: float
) -> Measured:
    """Measures one service.

    Args:
        service: Ready.
        capacity_seconds: For how long its capacity is measured.
        seconds: For how long it gets five times that, and half as long before it counts.
        patience: Seconds after which it counts as not coming back.
    """
    address = service.rest
    draw = random.Random(SEED)
    # Once before it counts: a new length costs something the first time.
    await _closed_loop(address, capacity_seconds, draw)
    capacity = await _closed_loop(address, capacity_seconds, draw)
    singles = [(await _single(address)).seconds for _ in range(SINGLES)]
    # No quieter load has its batches, and memory grows with the first thousand mixes of lengths.
    await asyncio.gather(*await _open_loop(address, capacity * FACTOR, seconds / 2, draw))
    watch = Watch(service.process.pid, service.outputs, keep=0)
    usages: list[Usage] = []
    delays: list[float] = []
    beside = [asyncio.create_task(_weigh(watch, usages)), asyncio.create_task(_pause(delays))]
    sent = await _open_loop(address, capacity * FACTOR, seconds, draw)
    for task in beside:
        task.cancel()
    back = await _recovery(address, max(singles), patience)
    return Measured(capacity, singles, [await each for each in sent], back, usages, delays)


async def _closed_loop(address: rest.Address, seconds: float, draw: random.Random) -> float:
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
                # Before the gateway knows how fast the service is.
                await asyncio.sleep(RETRY_SECONDS)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CAPACITY_CLIENTS)))
    return answered / (time.perf_counter() - began)


async def _open_loop(
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


async def _weigh(watch: Watch, usages: list[Usage]) -> None:
    while True:
        usages.append(await asyncio.to_thread(watch.usage))
        await asyncio.sleep(WEIGH_SECONDS)


async def _pause(delays: list[float]) -> None:
    while True:
        due = time.perf_counter() + PAUSE_SECONDS
        await asyncio.sleep(PAUSE_SECONDS)
        delays.append(time.perf_counter() - due)


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed; nan where there are none."""
    if not values:
        return float("nan")
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def report(measured: Measured) -> int:
    """Prints what was found; returns the exit code."""
    accepted = measured.seconds(200, "since_due")
    refused = measured.seconds(429, "since_upload")
    print(f"capacity: {measured.capacity:.2f} answers/s with {CAPACITY_CLIENTS} clients")
    singles = measured.singles
    print(f"single request: {statistics.median(singles):.2f} s, {max(singles):.2f} s at most")
    statuses = Counter(sent.status for sent in measured.sent)
    print(f"sent: {len(measured.sent)}, by status: {dict(sorted(statuses.items()))}\n")
    for name, values in (
        ("accepted", accepted),
        ("refused", refused),
        ("this machine's own delay", measured.delays),
    ):
        shares = ", ".join(
            f"p{share * 100:g} {percentile(values, share):.3f} s" for share in (0.5, 0.9, 0.99, 1)
        )
        print(f"{name}: {shares}")
    [memory] = [each for each in leaks.judge(measured.usages) if each.name == "memory"]
    others = len(measured.sent) - len(accepted) - len(refused)
    slowest = percentile(accepted, 0.99)
    refusal = percentile(refused, 0.99)
    growth = memory.last / memory.first
    rows = [
        ("accepted, p99 from when it was due (s)", slowest, ACCEPTED_P99),
        ("refused, p99 from the end of the upload (s)", refusal, REFUSED_P99),
        ("neither answered nor refused", others, 0),
        ("memory at the end, by that at the beginning", growth, leaks.MEMORY_GROWTH),
        ("single requests as fast as before, after (s)", measured.back, BACK_SECONDS),
    ]
    print()
    # Not the other way round: nan, where there is nothing to judge, is no success.
    kept = [found <= most for _, found, most in rows]
    shown = [
        (name, f"{found:.3g}", f"{most:g}", "ok" if good else "BROKEN")
        for (name, found, most), good in zip(rows, kept, strict=True)
    ]
    print(table(("promise", "measured", "at most", ""), *shown))
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
