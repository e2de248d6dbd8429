"""Who is let in: as many recognitions as can be answered in good time, and no more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.problems import Problem, overloaded

REMEMBERED = 32
"""Answers from whose pace the next ones' is estimated; more than a batch, which ends at once."""

ALWAYS = 4
"""In flight whatever the estimate: one slow clip must not close the door."""


class Admission:
    """Counts what is in flight, and measures how fast it is answered.

    The wait of a newcomer is estimated by Little's law: those before it, times the mean time
    between two answers while there was something to answer.

    Args:
        most: Never more than this at once.
        max_wait: Seconds; whoever would wait longer is refused at once.
    """

    def __init__(self, most: int, max_wait: float) -> None:
        self._most = most
        self._max_wait = max_wait
        self._in_flight = 0
        self._since = 0.0
        self._pauses: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Holds a place for the length of a ``with`` block.

        Raises:
            Problem: There is no room.
        """
        if refusal := self._refusal():
            raise refusal
        if not self._in_flight:
            self._since = time.monotonic()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def answered(self) -> None:
        """Notes an answer; a refusal of bad input is none, since it took no time."""
        now = time.monotonic()
        self._pauses.append(now - self._since)
        self._since = now

    def _refusal(self) -> Problem | None:
        if self._in_flight >= self._most:
            return overloaded(
                f"{self._in_flight} recognitions are being worked on, and there is no room for "
                "more: try again in a second"
            )
        if self._in_flight < ALWAYS or not self._pauses:
            return None
        wait = (self._in_flight + 1) * sum(self._pauses) / len(self._pauses)
        if wait <= self._max_wait:
            return None
        return overloaded(
            f"the answer would take about {wait:.0f} s, and more than {self._max_wait:g} s is not "
            "promised: try again in a second"
        )
