"""Being told to stop: a signal only leaves a note, which is read where stopping is safe.

An exception raised by a signal could come while a process is being started or ended, and leave it
behind.
"""

from __future__ import annotations

import signal
import time

SAME_SECONDS = 1.0
"""Signals this close together are one request: make, the terminal and the kernel all send one."""


class StopRequested(Exception):
    """The service was told to stop."""


class Stop:
    """Whether the service was told to stop, and whether it was told again."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.hurried = False

    def listen(self) -> None:
        """Takes note of SIGTERM and SIGINT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > SAME_SECONDS:
            self.hurried = True

    def check(self) -> None:
        """Raises `StopRequested` once the service was told to stop."""
        if self._first is not None:
            raise StopRequested
