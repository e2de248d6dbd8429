"""Who is let in: as many recognitions as can be answered in good time, and no more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from gateway.problems import Problem, overloaded

REMEMBERED = 64
"""Answers that are kept; the next one's wait is estimated by the half with the furthest places."""

SHARE = 0.95
"""Of those that took no longer than their place says and the next one is expected to."""

ALWAYS = 2
"""In flight whatever the estimate: one slow clip must not close the door."""


class Admission:
    """Counts what is in flight, and measures how long it is waited for.

    Each request has a place in the queue. How long the last answers took, each divided by its
    place, says what a place costs; the middle one is taken for each place of the next answer. To
    that comes what nineteen of twenty did not exceed it by: clips differ in length, come out in
    batches, and wait now and then for something that no further place adds to. The most would shut
    the door for one slow clip. The first places say least: where others send to Triton as well, an
    answer at the front took what theirs took.

    Args:
        most: Never more than this at once.
        max_wait: Seconds; a request that might wait longer is refused at once.
    """

    def __init__(self, most: int, max_wait: float) -> None:
        self._most = most
        self._max_wait = max_wait
        self._in_flight = 0
        self._answers: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        """Place, and seconds; the latest first."""

    @contextmanager
    def admit(self) -> Iterator[Callable[[], None]]:
        """Holds a place for the length of a ``with`` block.

        Yields:
            To be called when there is an answer; a refusal of bad input is none, since it took no
            time.

        Raises:
            Problem: There is no room.
        """
        if refusal := self._refusal():
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
        # A stable sort: of those with the same place the latest count.
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
