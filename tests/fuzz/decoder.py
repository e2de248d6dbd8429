"""Feeds the decoder damaged files and watches what they do to it.

    python -m tests.fuzz.decoder --inputs 100000 --seed 1

Each input is a good file of any format, changed by a few random mutations that its number and the
seed decide. It goes through the sandbox, as in production. What ends its process is saved: a
crash, or more memory or time of a processor than is allowed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import audio
from tests.fuzz.attacks import Measured
from tests.fuzz.limits import LIMITS
from tests.fuzz.seeds import seeds

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
HEADER = 512


def flip_bits(data: bytearray, pick: random.Random) -> None:
    for _ in range(pick.choice([1, 1, 2, 8, 64])):
        data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)


def set_field(data: bytearray, pick: random.Random) -> None:
    """Writes an extreme value over 1 to 8 bytes, mostly of the header or the trailer."""
    size, order = pick.choice([1, 2, 4, 8]), pick.choice(["little", "big"])
    value = pick.choice(EXTREMES) % 2 ** (8 * size)
    end = max(1, len(data) - size)
    start = pick.choice(
        [pick.randrange(min(64, end)), pick.randrange(min(HEADER, end)), pick.randrange(end),
         end - 1 - pick.randrange(min(HEADER, end))]
    )  # fmt: skip
    data[start : start + size] = value.to_bytes(size, order)


def delete_chunk(data: bytearray, pick: random.Random) -> None:
    start = pick.randrange(len(data))
    del data[start : start + pick.choice([1, 4, 64, len(data) // 4])]


def repeat_chunk(data: bytearray, pick: random.Random) -> None:
    start = pick.randrange(len(data))
    chunk = data[start : start + pick.choice([1, 8, 256, 4_096])]
    data[start:start] = chunk * pick.choice([1, 2, 50])


def fill_chunk(data: bytearray, pick: random.Random) -> None:
    start, size = pick.randrange(len(data)), pick.choice([4, 64, 1_024])
    piece = data[start : start + size]
    data[start : start + size] = pick.choice([bytes(len(piece)), pick.randbytes(len(piece))])


def truncate(data: bytearray, pick: random.Random) -> None:
    del data[pick.randrange(len(data)) :]


def splice(data: bytearray, pick: random.Random) -> None:
    """Goes on with the rest of another file."""
    other = seeds()[pick.choice(sorted(seeds()))]
    data[pick.randrange(len(data)) :] = other[pick.randrange(len(other)) :]


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    *(flip_bits, set_field, set_field, delete_chunk, repeat_chunk, fill_chunk, truncate, splice)
]


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """Makes one input.

    Args:
        seed: Of the whole run.
        number: Of the input in it.

    Returns:
        The name of the good file it comes from, and its bytes.
    """
    pick = random.Random(f"{seed}/{number}")
    name = pick.choice(sorted(seeds()))
    data = bytearray(seeds()[name])
    for _ in range(pick.choice([1, 1, 2, 3, 6])):
        if data:
            pick.choice(MUTATIONS)(data, pick)
    return name, bytes(data[: LIMITS.max_bytes])


def check(clip: audio.Decoded) -> None:
    """Raises AssertionError where what came out is no clip."""
    assert clip.samples.dtype == np.float32
    assert np.isfinite(clip.samples).all()
    seconds = len(clip.samples) / audio.SAMPLE_RATE
    assert LIMITS.min_seconds <= seconds <= LIMITS.max_seconds + 0.2
    waveform, _ = audio.lay_out(clip.samples)
    assert np.isfinite(waveform).all()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"))
    arguments = parser.parse_args()
    outcomes: Counter[str] = Counter()
    highest = slowest = 0.0
    findings = 0
    target = Measured()
    for number in range(arguments.inputs):
        name, data = mutated(arguments.seed, number)
        outcome, died, seconds, peak = target.attempt(data, check)
        outcomes[died or outcome] += 1
        slowest = max(slowest, seconds)
        highest = max(highest, peak - len(data) / 2**20)
        if died or peak > LIMITS.max_memory_bytes / 2**20:
            findings += 1
            arguments.save.mkdir(exist_ok=True)
            (arguments.save / f"{arguments.seed}-{number}").write_bytes(data)
            print(
                f"{number}: {name}: {died or outcome}, {seconds:.2f} s, {peak:.1f} MB", flush=True
            )
        if number % 10_000 == 9_999:
            print(f"{number + 1}: {dict(outcomes)}", flush=True)
    print(f"{arguments.inputs} inputs: {dict(outcomes.most_common())}")
    print(f"slowest {slowest:.2f} s, highest {highest:.1f} MB beyond the file, {findings} findings")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
