"""Decides when and for how long a call is retried."""

from __future__ import annotations

import logging
import random
import threading
import time

from emotion2vec_client.errors import ServerUnavailableError

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0

NOTICE_SECONDS = 3.0
"""Shorter outages are not logged: most are queues that are full for a moment."""

logger = logging.getLogger("emotion2vec_client")
"""Logs at level INFO that a call waits for a server, and that the server is back."""


class Outage:
    """How long the server has been down, for one call or for many that share this object.

    Calls that share it give up together, so that only the first one waits for the whole patience.

    Args:
        patience: Calls give up after this many seconds without any response.
    """

    def __init__(self, patience: float):
        self._patience = patience
        self._began: float | None = None
        self._logged = False
        self._lock = threading.Lock()

    def over(self) -> None:
        """Ends the outage: the server has responded, even if with an error."""
        with self._lock:
            logged, self._logged = self._logged, False
            self._began = None
        if logged:
            logger.info("the server answers again")

    def delay(self, attempt: int, error: ServerUnavailableError) -> float:
        """Seconds to wait before the next attempt.

        Args:
            attempt: Attempts so far.
            error: How the last one failed.

        Raises:
            ServerUnavailableError: The same error, if the patience is used up.
        """
        now = time.monotonic()
        with self._lock:
            if self._began is None:
                self._began = now
            left = self._began + self._patience - now
            log = left > 0 and not self._logged and now - self._began >= NOTICE_SECONDS
            self._logged |= log
        if left <= 0:
            raise error
        if log:
            logger.info("waiting for the server, for up to %.0f s more: %s", left, error)
        # Full jitter, so that many clients do not retry at the same moment.
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2**attempt)
        return min(left, random.uniform(FIRST_DELAY / 2, longest))
