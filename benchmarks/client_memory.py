"""Measures the client library's memory over many small inputs.

``python benchmarks/client_memory.py [--url localhost:8001] [--count 20000]`` prints the resident
memory of this process before, during and after ``Client.predict_many``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from emotion2vec_client import Client

SHORTEST = (np.random.default_rng(0).standard_normal(400) * 0.1).astype(np.float32)
"""25 ms at 16 kHz, so that the client does most of the work and not the model."""


def resident_megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="localhost:8001")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    with Client(options.url) as client:
        client.predict((SHORTEST, 16_000))
        before = highest = resident_megabytes()
        started = time.monotonic()
        items = ((SHORTEST, 16_000) for _ in range(options.count))
        failures = 0
        for number, outcome in enumerate(
            client.predict_many(items, concurrency=options.concurrency)
        ):
            failures += outcome.error is not None
            if number % 500 == 0:
                highest = max(highest, resident_megabytes())
        seconds = time.monotonic() - started
    after = resident_megabytes()
    print(
        f"{options.count} inputs in {seconds:.0f} s, {failures} failed: resident "
        f"{before:.1f} MB before, {highest:.1f} MB at most, {after:.1f} MB after "
        f"(+{highest - before:.1f} MB)"
    )


if __name__ == "__main__":
    main()
