"""When a call is tried again: only while nobody answers or the queue is full, and not for ever."""

from __future__ import annotations

import random
import threading
import time

from emotion2vec_client.errors import ServerUnavailableError

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0


class Outage:
    """How long the server has been away, for one call or for many that share it.

    Shared by many calls, it makes all of them give up together: the first waits out the patience,
    and the rest need not wait it out again.

    Args:
        patience: Seconds without any answer after which calls give up.
    """

    def __init__(self, patience: float):
        self._patience = patience
        self._began: float | None = None
        self._lock = threading.Lock()

    def over(self) -> None:
        """The server has answered, whatever it said."""
        self._began = None

    def delay(self, attempt: int, error: ServerUnavailableError) -> float:
        """Seconds to wait before the next attempt.

        Args:
            attempt: Attempts so far.
            error: What the last one ended with.

        Raises:
            ServerUnavailableError: The error, once the patience is used up.
        """
        now = time.monotonic()
        with self._lock:
            if self._began is None:
                self._began = now
            left = self._began + self._patience - now
        if left <= 0:
            raise error
        # Full jitter, so that many clients do not come back at the same moment.
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2**attempt)
        return min(left, random.uniform(FIRST_DELAY / 2, longest))
