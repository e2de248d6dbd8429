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


def remove_environments(since: float) -> None:
    """Removes the empty folder that Triton's Python backend makes, and forgets when killed.

    Args:
        since: When Triton was started, in seconds since the epoch. An empty folder of another
            Triton that was started later goes as well, which does not need it either.
    """
    for folder in Path("/tmp").glob("python_env_*"):
        with suppress(OSError):  # Another user's, or gone, or in use.
            if folder.stat().st_ctime >= since:
                folder.rmdir()


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
    """``reaper.py PREFIX SECONDS``: takes Triton's process group from standard input."""
    prefix, patience = sys.argv[1], float(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    started = time.time()
    # Until the launcher is gone.
    told = sys.stdin.buffer.read().split()
    if DONE in told:
        return
    for group in map(int, told[-1:]):
        # It answers what it has accepted, if it can.
        deadline = time.monotonic() + patience
        while _lives(group, only=group) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        kill_group(group)
    remove_environments(started)
    remove_files(prefix)


if __name__ == "__main__":
    main()
