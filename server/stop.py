"""Stop requests: a signal is only noted, and the note is read where it is safe to stop.

If the signal raised an exception instead, it could interrupt the start or the end of a process, and
leave that process behind.
"""

from __future__ import annotations

import signal
import time

SAME_SECONDS = 1.0
"""Signals this close together are one request: make, the terminal and the kernel each send one."""


class StopRequested(Exception):
    """The service was told to stop."""


class Stop:
    """Whether the service was told to stop, and whether it was told a second time."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.hurried = False

    def listen(self) -> None:
        """Notes SIGTERM and SIGINT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > SAME_SECONDS:
            self.hurried = True

    def check(self) -> None:
        """Raises `StopRequested` if the service has been told to stop."""
        if self._first is not None:
            raise StopRequested
