"""Admission control: refuses at once a recognition that could not be answered in time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from gateway.problems import Problem, overloaded

REMEMBERED = 64
"""Number of latest answers kept. The half that was furthest back in the queue is used to estimate
the next wait."""

SHARE = 0.95
"""Percentile of the excess over the estimate that is added to the next one."""

ALWAYS = 2
"""Requests that are admitted whatever the estimate: one slow clip must not stop the service."""


class Admission:
    """Counts requests in flight, and estimates how long the next one would wait.

    Each request has a place in the queue. The time of an answer divided by its place is the cost of
    one place, and the estimate uses the median cost. Clips differ in length, are answered in
    batches, and sometimes wait for something else, so the 95th percentile of the excess over that
    estimate is added. (The maximum would stop the service after one slow clip.) Only answers from
    far back in the queue count: if others use the same Triton, an answer at the front also waited
    for their requests.

    Args:
        most: Largest number of requests at once.
        max_wait: Seconds; a request that might wait longer is refused.
    """

    def __init__(self, most: int, max_wait: float) -> None:
        self._most = most
        self._max_wait = max_wait
        self._in_flight = 0
        self._answers: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        """Place and seconds, the latest first."""

    @contextmanager
    def admit(self, always: bool = False) -> Iterator[Callable[[], None]]:
        """Holds a place for the length of a ``with`` block.

        Args:
            always: Whether to hold one in any case, for what must be answered.

        Yields:
            A function to call when there is an answer. Refused input does not count, because it
            took no time.

        Raises:
            Problem: Too many requests are in flight.
        """
        if not always and (refusal := self._refusal()):
            raise refusal
        self._in_flight += 1
        place, since = self._in_flight, time.monotonic()

        def answered() -> None:
            self._answers.appendleft((place, time.monotonic() - since))

        try:
            yield answered
        finally:
            self._in_flight -= 1

    def _refusal(self) -> Problem | None:
        if self._in_flight >= self._most:
            return overloaded(
                f"{self._in_flight} recognitions are under way, and there is no room for "
                "more: try again in a second"
            )
        if self._in_flight < ALWAYS or not self._answers:
            return None
        # The sort is stable, so that of answers with the same place the latest come first.
        furthest = sorted(self._answers, key=lambda answer: answer[0], reverse=True)
        half = furthest[: (len(furthest) + 1) // 2]
        pace = median(seconds / place for place, seconds in half)
        excess = sorted(seconds - place * pace for place, seconds in half)
        wait = (self._in_flight + 1) * pace + excess[int(SHARE * len(excess))]
        if wait <= self._max_wait:
            return None
        return overloaded(
            f"the answer might take {wait:.0f} s, and {self._max_wait:g} s is the most that is "
            "accepted: try again in a second"
        )
