"""When a call is tried again: while no server answers or its queue is full, and not for ever."""

from __future__ import annotations

import logging
import random
import threading
import time

from emotion2vec_client.errors import ServerUnavailableError

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0

NOTICE_SECONDS = 3.0
"""A shorter outage is not worth a word: most are queues that are full for a moment."""

logger = logging.getLogger("emotion2vec_client")
"""Reports at level INFO the servers that are waited for, and their return."""


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
        self._told = False
        self._lock = threading.Lock()

    def over(self) -> None:
        """The server has answered, whatever it said."""
        with self._lock:
            told, self._told = self._told, False
            self._began = None
        if told:
            logger.info("the server answers again")

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
            tell = left > 0 and not self._told and now - self._began >= NOTICE_SECONDS
            self._told |= tell
        if left <= 0:
            raise error
        if tell:
            logger.info("waiting for the server, for up to %.0f s more: %s", left, error)
        # Full jitter, so that many clients do not come back at the same moment.
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2**attempt)
        return min(left, random.uniform(FIRST_DELAY / 2, longest))
