"""Detects leaks: what the service holds, whether it grows, and proof that growth is detected."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from benchmarks.launch import below
from server.leftovers import OWNED_PREFIX
from server.reaper import SHM

MEMORY_GROWTH = 1.03
PRUNED_SECONDS = 150.0
"""The gateway prunes its results once a minute; older ones beyond the limit are overdue."""

SETTLING_SAMPLES, SETTLING_PAUSE = 8, 0.25


@dataclass(frozen=True)
class Usage:
    """What the service holds at one moment.

    Attributes:
        memory: Resident MB of all processes; shared pages count once. File pages do not count,
            because the kernel loads and evicts them as it likes.
        descriptors: Open files and sockets of all processes.
        shared: MB in /dev/shm.
        overdue: Results in outputs/ that should have been pruned.
    """

    memory: float
    descriptors: int
    shared: float
    overdue: int


@dataclass(frozen=True)
class Verdict:
    """Whether something has grown.

    Attributes:
        name: The attribute of `Usage`.
        first: Median of the first quarter of the samples.
        last: Median of the last quarter.
        limit: A larger `last` is growth.
    """

    name: str
    first: float
    last: float
    limit: float

    @property
    def grown(self) -> bool:
        """Whether it is a leak."""
        return self.last > self.limit


class Watch:
    """Measures what a process and all its descendants hold.

    Args:
        pid: The process, whose number is also in the names of its files in /dev/shm.
        outputs: Folder of the results.
        keep: How many results the gateway keeps.
    """

    def __init__(self, pid: int, outputs: Path, keep: int) -> None:
        self._pid = pid
        self._outputs = outputs
        self._keep = keep

    def usage(self) -> Usage:
        """What they hold now."""
        pids = [self._pid, *(process.pid for process in below(self._pid))]
        regions = SHM.glob(OWNED_PREFIX.format(pid=self._pid) + "*")
        return Usage(
            memory=sum(map(_resident_megabytes, pids)),
            descriptors=sum(map(_descriptors, pids)),
            shared=sum(stat.st_blocks for stat in _stats(regions)) * 512 / 2**20,
            overdue=self._overdue(),
        )

    def settled(self) -> Usage:
        """What an idle service holds: the minimum of a few samples, because its own health checks
        add a little at times."""
        looks = []
        for _ in range(SETTLING_SAMPLES):
            looks.append(astuple(self.usage()))
            time.sleep(SETTLING_PAUSE)
        return Usage(*map(min, zip(*looks, strict=True)))

    def _overdue(self) -> int:
        if not self._outputs.is_dir():
            return 0
        now = time.time()
        ages = sorted(now - stat.st_mtime for stat in _stats(self._outputs.iterdir()))
        return sum(age > PRUNED_SECONDS for age in ages[self._keep :])


def judge(samples: list[Usage]) -> list[Verdict]:
    """Compares the medians of the first and the last quarter of the samples."""
    quarter = max(len(samples) // 4, 1)
    verdicts = []
    for field in fields(Usage):
        series = [getattr(sample, field.name) for sample in samples]
        first = statistics.median(series[:quarter])
        limit = first * MEMORY_GROWTH if field.name == "memory" else first
        verdicts.append(Verdict(field.name, first, statistics.median(series[-quarter:]), limit))
    return verdicts


LEAKS = ("nothing", *(field.name for field in fields(Usage)))

LEAKING = """
import os, sys, time
from pathlib import Path
kind, region, outputs = sys.argv[1], sys.argv[2].format(pid=os.getpid()), Path(sys.argv[3])
held = [b"x" * (100 * 2**20)]
print(flush=True)
for step, _ in enumerate(sys.stdin):
    if kind == "memory":
        held.append(b"x" * 2**20)
    elif kind == "descriptors":
        held.append(open(os.devnull))
    elif kind == "shared":
        with open(region, "ab") as file:
            file.write(bytes(4096))
    elif kind == "overdue":
        folder = outputs / f"outputs_20240101_00000{step}"
        folder.mkdir()
        os.utime(folder, (0, 0))
    print(flush=True)
if kind == "shared":
    os.unlink(region)
"""
"""Leaks a little for every line it reads."""


def control(kind: str) -> list[Verdict]:
    """Judges a process that leaks on purpose, in the same way as the service.

    Args:
        kind: One of `LEAKS`: the attribute of `Usage` that grows, by 6 % in total, or by one
            descriptor, one page or one result at a time.
    """
    with tempfile.TemporaryDirectory() as folder:
        region = SHM / (OWNED_PREFIX + "leak")
        process = subprocess.Popen(
            [sys.executable, "-c", LEAKING, kind, str(region), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin
        assert process.stdout
        with process:
            watch = Watch(process.pid, Path(folder), keep=0)
            samples = []
            process.stdout.readline()
            for _ in range(8):
                samples.append(watch.usage())
                process.stdin.write(b"\n")
                process.stdin.flush()
                process.stdout.readline()
            process.stdin.close()
    return judge(samples)


def _stats(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        # It may have been removed since it was found.
        with suppress(FileNotFoundError):
            yield path.stat()


def _resident_megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        # It has ended since it was found: decoders are replaced from time to time.
        return 0.0
    return sum(
        int(line.split()[1]) / 1024 for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem"))
    )


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0
