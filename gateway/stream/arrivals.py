"""When each part of a stream arrived, to know how late its measurement is."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque

REMEMBERED = 1024
"""Latest messages; with 20 ms of audio in each, they go back 20 s."""


class Arrivals:
    """The times of the latest messages of a stream."""

    def __init__(self) -> None:
        self._messages: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def add(self, seconds: float) -> None:
        """Records that the first ``seconds`` of the stream have arrived by now."""
        self._messages.append((seconds, time.monotonic()))

    def age(self, seconds: float) -> float:
        """How long ago a time of the stream arrived, in seconds."""
        index = bisect_left(self._messages, (seconds, 0.0))
        if index == len(self._messages):
            return 0.0
        return time.monotonic() - self._messages[index][1]
