"""A separate process that ends Triton if its launcher is killed and cannot do so.

The kernel signals Triton when the launcher is gone (`server.process.die_with_parent`), but Triton
may end without ending the processes in which its models run. The reaper waits for the launcher's
end of a pipe to close. Whatever closed it, no process, shared memory or folder remains.

It runs as a program and imports nothing else of this project.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SHM = Path("/dev/shm")
POLL_SECONDS = 0.05
KILLED_SECONDS = 10.0
"""SIGKILL takes effect at once, unless the kernel is busy."""

TEMPORARY = Path("/tmp")
"""Where Triton's Python backend makes its folder, whatever TMPDIR says."""

SAME_SECONDS = 1.0
"""Largest difference between the clocks that date processes and folders."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

DONE = b"done"


def kill_group(group: int) -> None:
    """Kills a group of processes; returns when all of them have ended."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + KILLED_SECONDS
    while _lives(group) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def remove_files(prefix: str) -> None:
    """Removes a server's files, by their prefix, from /dev/shm and the temporary folder."""
    for folder in (SHM, Path(tempfile.gettempdir())):
        for path in folder.glob(f"{prefix}*"):
            remove(path)


def remove(path: Path) -> None:
    """Removes a file or folder, unless it belongs to another user."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def environments() -> set[Path]:
    """The folders that Triton's Python backends have made, one for each Triton."""
    return set(TEMPORARY.glob("python_env_*"))


def remove_environments() -> None:
    """Removes the empty folders that Triton's Python backend leaves behind when it is killed.

    A folder does not say which Triton made it, and a Triton whose folder is missing aborts when it
    ends. So a folder stays while any Triton that is older than the folder is running.
    """
    started = _started()
    for folder in environments():
        with suppress(OSError):  # Another user's, or gone, or in use.
            made = folder.stat().st_ctime
            if not any(each < made + SAME_SECONDS for each in started):
                folder.rmdir()


def _started() -> list[float]:
    """Start times of the running tritonservers, in seconds since the epoch."""
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    booted = time.time() - since_boot
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            name, _, fields = path.read_bytes().rpartition(b")")
            state, *rest = fields.split()
            if name.endswith(b"(tritonserver") and state not in (b"Z", b"X"):
                found.append(booted + int(rest[18]) / TICKS_PER_SECOND)
    return found


def _lives(group: int, only: int | None = None) -> bool:
    """Whether a process of the group still runs; zombies do not count."""
    for path in Path("/proc").glob(f"{only or '[0-9]*'}/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name before the last parenthesis may contain any bytes.
            state, _, found, *_ = path.read_bytes().rpartition(b")")[2].split()
            if int(found) == group and state not in (b"Z", b"X"):
                return True
    return False


def main() -> None:
    """``reaper.py PREFIX SECONDS``: reads Triton's process group and its folder from stdin."""
    prefix, patience = sys.argv[1], float(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Returns when the launcher is gone.
    words = sys.stdin.buffer.read().split()
    if DONE in words:
        return
    for group in map(int, words[:1]):
        # Triton first answers accepted requests, if it can.
        deadline = time.monotonic() + patience
        while _lives(group, only=group) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        kill_group(group)
    for folder in words[1:]:
        remove(Path(os.fsdecode(folder)))
    remove_environments()
    remove_files(prefix)


if __name__ == "__main__":
    main()
