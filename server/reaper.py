"""Ends Triton for a launcher that was killed and could not do it: a process of its own.

The kernel tells Triton when the launcher is gone (`server.process.die_with_parent`), but Triton may
end without ending the processes in which its models run. This one waits for the launcher's end of
a pipe to close. Whatever closed it, no process, shared memory or folder is left.

It runs as a program, and so imports nothing of the rest.
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
"""For what SIGKILL does at once, unless the kernel is busy."""

TEMPORARY = Path("/tmp")
"""Where Triton's Python backend makes its folder, whatever TMPDIR says."""

SAME_SECONDS = 1.0
"""How far the two clocks may be apart that a process and a folder are dated by."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

DONE = b"done"


def kill_group(group: int) -> None:
    """Ends a group of processes at once; returns when none of them lives."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + KILLED_SECONDS
    while _lives(group) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def remove_files(prefix: str) -> None:
    """Removes what a server with this prefix has in /dev/shm and in the temporary folder."""
    for folder in (SHM, Path(tempfile.gettempdir())):
        for path in folder.glob(f"{prefix}*"):
            remove(path)


def remove(path: Path) -> None:
    """Removes a file or folder, unless it is another user's."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def environments() -> set[Path]:
    """The folders that Triton's Python backends have made, one for each Triton."""
    return set(TEMPORARY.glob("python_env_*"))


def remove_environments() -> None:
    """Removes the empty folders that Triton's Python backend makes, and forgets when killed.

    Nothing says whose a folder is, and a Triton aborts at its end when its own is missing. So a
    folder stays as long as any Triton runs that is older than it.
    """
    started = _started()
    for folder in environments():
        with suppress(OSError):  # Another user's, or gone, or in use.
            made = folder.stat().st_ctime
            if not any(each < made + SAME_SECONDS for each in started):
                folder.rmdir()


def _started() -> list[float]:
    """When each tritonserver that runs was started, in seconds since the epoch."""
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
    """Whether a process of the group has not ended; those that nobody waits for have."""
    for path in Path("/proc").glob(f"{only or '[0-9]*'}/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name before the last parenthesis may hold any bytes.
            state, _, found, *_ = path.read_bytes().rpartition(b")")[2].split()
            if int(found) == group and state not in (b"Z", b"X"):
                return True
    return False


def main() -> None:
    """``reaper.py PREFIX SECONDS``: takes Triton's process group, and its folder, from stdin."""
    prefix, patience = sys.argv[1], float(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Until the launcher is gone.
    words = sys.stdin.buffer.read().split()
    if DONE in words:
        return
    for group in map(int, words[:1]):
        # It answers what it has accepted, if it can.
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
