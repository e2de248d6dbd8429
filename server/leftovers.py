"""Which files in /dev/shm and the temporary folder belong to a server that is no longer there."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from server.reaper import SHM, remove

OWNED_PREFIX = "emotion2vec-{pid}-"
"""Prefix of every file that a killed server may leave behind."""

OWNED = re.compile(OWNED_PREFIX.replace("{pid}", r"(?P<pid>\d+)") + r"([0-9a-f]+-)?")
"""The prefix of one server's files: it ends with a random number, which old versions lack."""


def claim(prefix: str) -> int:
    """Makes a lock that says that the files with a prefix belong to a running server.

    A process ID does not say it: containers may share /dev/shm and have process IDs of their own.

    Returns:
        A file descriptor; closing it, as the end of the process does, releases the lock.
    """
    made = SHM / f".{prefix}lock"
    lock = os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Under its name it is locked from the start.
    made.rename(SHM / f"{prefix}lock")
    return lock


def is_claimed(prefix: str) -> bool:
    """Whether a running server holds the lock of a prefix."""
    try:
        lock = os.open(SHM / f"{prefix}lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def remove_stale_files() -> None:
    """Removes this user's files of servers that were killed."""
    for folder in (SHM, Path(tempfile.gettempdir())):
        for path in folder.glob(OWNED_PREFIX.format(pid="*") + "*"):
            found = OWNED.match(path.name)
            if found is None or Path("/proc", found["pid"]).exists() or not _is_ours(path):
                continue
            if not is_claimed(found[0]):
                remove(path)


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:  # Another server removes the same files.
        return False
