"""Hours of mixed traffic in minutes: no wrong answer, and nothing that grows.

``python -m benchmarks.soak [--minutes 20]``, from the root. Starts the service, and lets clients
work in rounds: over gRPC, HTTP and REST, with good and bad files, some of which give up, hang up or
are killed at work. Each good answer is compared with that clip's answer at the start. What the
service holds is weighed after each round, in silence. Before the first, processes that leak on
purpose prove that a leak would be seen. The exit code is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks import leaks
from benchmarks.leaks import Usage, Watch
from benchmarks.processes import ROOT, Service, ServiceError, table
from benchmarks.traffic import Traffic

ROUND_SECONDS = 20.0
LEAST_ROUNDS = 12
CLIENTS = 6
KEEP_RESULTS = 50
SHOWN = 5


def main() -> int:
    """Runs the proof; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--seed", type=int, default=1, help="of what the clients do")
    options = parser.parse_args()
    if blind := blind_spots():
        print(f"soak: the detector is of no use: {blind}", file=sys.stderr)
        return 1
    print(
        "control: a leak of memory, descriptors, /dev/shm and results is seen, and no leak is not"
    )
    rounds = max(LEAST_ROUNDS, round(options.minutes * 60 / ROUND_SECONDS))
    with tempfile.TemporaryDirectory(prefix="emotion2vec-soak-") as folder:
        service = Service(
            options.model_repository, Path(folder), keep_results=KEEP_RESULTS, timeout=120
        )
        try:
            with service:
                traffic, samples = soak(service, rounds, ROUND_SECONDS, options.seed)
                log = service.log.read_text(encoding="utf-8", errors="replace")
        except (ServiceError, ValueError) as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
    troubles = [line for line in log.splitlines() if "runs again" in line]
    return report(traffic, samples, troubles)


def blind_spots() -> str | None:
    """What the detector fails to see, or sees where there is nothing; None when all is well."""
    for kind in leaks.LEAKS:
        grown = {verdict.name for verdict in leaks.control(kind) if verdict.grown}
        if grown != {kind} - {"nothing"}:
            return f"where {kind} leaked, it saw {sorted(grown) or 'nothing'}"
    return None


def soak(service: Service, rounds: int, seconds: float, seed: int) -> tuple[Traffic, list[Usage]]:
    """Lets clients work in rounds.

    Args:
        service: Ready.
        rounds: How many; the first half, with twice as many clients, warms up.
        seconds: Length of a round.
        seed: Of what the clients do.

    Returns:
        What happened, and what was held after each round that was not for warming up.
    """
    traffic = Traffic(service, seed)
    watch = Watch(service.process.pid, service.outputs, KEEP_RESULTS)
    samples = []
    # The encoder's caches and the heap grow with the largest batches, and with ever rarer mixes of
    # lengths: after a thousand requests there is little that they have not seen.
    asyncio.run(traffic.burst(CLIENTS * 2))
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


def report(traffic: Traffic, samples: list[Usage], troubles: list[str]) -> int:
    """Prints what happened; returns the exit code."""
    print()
    print(table(("requests", ""), *sorted(traffic.counts.items())))
    print()
    verdicts = leaks.judge(samples)
    rows = [
        (
            verdict.name,
            f"{verdict.first:.1f}",
            f"{verdict.last:.1f}",
            f"{verdict.limit:.1f}",
            "LEAK" if verdict.grown else "ok",
        )
        for verdict in verdicts
    ]
    print(table(("held", "after warm-up", "at the end", "at most", ""), *rows))
    for name, sentences in (
        ("wrong answers", traffic.wrong),
        ("requests that failed", traffic.failed),
        ("restarts", troubles),
    ):
        print(f"\n{name}: {len(sentences)}")
        for sentence in sentences[:SHOWN]:
            print(f"  {sentence}")
    broken = traffic.wrong or traffic.failed or troubles
    return int(bool(broken) or any(verdict.grown for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
