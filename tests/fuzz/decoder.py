"""Feeds damaged files to the decoder and checks what they do to it.

Each input is a good file of any format with a few random mutations. Its number and the seed decide
them, so that `mutated` can make it again. It goes through the sandbox, as in production. An input
is a finding if it crashes the decoder's process or takes more memory than allowed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from audio.decoding import Decoded
from audio.layout import SAMPLE_RATE, lay_out
from tests.fuzz.limits import LIMITS
from tests.fuzz.measured import Measured
from tests.fuzz.seeds import seeds

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
HEADER = 512

CPU_LIMIT = "SIGPROF"
"""The signal that kills a process after too much CPU time."""


def flip_bits(data: bytearray, pick: random.Random) -> None:
    for _ in range(pick.choice([1, 1, 2, 8, 64])):
        data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)


def set_field(data: bytearray, pick: random.Random) -> None:
    """Overwrites 1 to 8 bytes with an extreme value, mostly in the header or the trailer."""
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
    """Continues with the rest of another file."""
    other = seeds()[pick.choice(sorted(seeds()))]
    data[pick.randrange(len(data)) :] = other[pick.randrange(len(other)) :]


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    *(flip_bits, set_field, set_field, delete_chunk, repeat_chunk, fill_chunk, truncate, splice)
]


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """Makes one input.

    Args:
        seed: Seed of the whole run.
        number: Number of the input in the run.

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


def check(clip: Decoded) -> None:
    """Raises AssertionError if the decoded clip is not valid."""
    assert clip.samples.dtype == np.float32
    assert np.isfinite(clip.samples).all()
    seconds = len(clip.samples) / SAMPLE_RATE
    assert LIMITS.min_seconds <= seconds <= LIMITS.max_seconds + 0.2
    waveform, _ = lay_out(clip.samples)
    assert np.isfinite(waveform).all()


@dataclass
class Outcome:
    """The results of a fuzzing run.

    Attributes:
        statuses: How often each came: "ok", or the reason of the refusal.
        slowest: Most CPU time of one file, in seconds.
        highest: Most memory of one file beyond its size, in megabytes.
        findings: What should not have happened, one sentence each.
    """

    statuses: Counter[str]
    slowest: float = 0.0
    highest: float = 0.0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.statuses.total()} files: {dict(self.statuses.most_common())}\n"
            f"slowest {self.slowest:.2f} s, highest {self.highest:.1f} MB beyond the file, "
            f"{len(self.findings)} findings"
        )


def fuzz(target: Measured, numbers: Iterable[int], seed: int) -> Outcome:
    """Decodes inputs.

    Args:
        target: The decoder.
        numbers: Numbers of the inputs, for `mutated`.
        seed: Seed of the whole run.
    """
    outcome = Outcome(Counter())
    for number in numbers:
        name, data = mutated(seed, number)
        status, died, seconds, peak = target.attempt(data, check)
        outcome.statuses[died or status] += 1
        outcome.slowest = max(outcome.slowest, seconds)
        outcome.highest = max(outcome.highest, peak - len(data) / 2**20)
        # A slow machine may reach the CPU time limit: that is no finding.
        if died not in ("", CPU_LIMIT) or peak > LIMITS.max_memory_bytes / 2**20:
            outcome.findings.append(
                f"input {number} of seed {seed}, from {name}: {died or status}, {seconds:.2f} s, "
                f"{peak:.1f} MB"
            )
    return outcome
