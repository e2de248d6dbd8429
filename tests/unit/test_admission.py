"""Who is let in, by hand-computed estimates."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway import admission
from gateway.admission import ALWAYS, REMEMBERED, Admission
from gateway.problems import Problem


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(admission, "time", fake)
    return fake


def fill(door: Admission, stack: ExitStack, most: int = 100) -> int:
    """Lets in as many as it takes; returns how many."""
    for count in range(most):
        try:
            stack.enter_context(door.admit())
        except Problem as problem:
            assert (problem.status_code, problem.code) == (429, "overloaded")
            assert problem.headers == {"Retry-After": "1"}
            return count
    return most


def answer(door: Admission, clock: Clock, seconds: float, before: int = 0) -> None:
    """One answer that took so long, behind others that are never answered."""
    with ExitStack() as stack:
        for _ in range(before):
            stack.enter_context(door.admit())
        answered = stack.enter_context(door.admit())
        clock.now += seconds
        answered()


def test_as_many_as_are_answered_in_time(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=3.0)
    # The fourth in the queue waited for a second: twelve are answered within three.
    answer(door, clock, 1.0, before=3)
    with ExitStack() as stack:
        assert fill(door, stack) == 12
    # Each that leaves makes room for one.
    with ExitStack() as stack:
        fill(door, stack)
        stack.pop_all().close()
        assert fill(door, stack) == 12


def test_what_nineteen_of_twenty_took_counts_and_is_forgotten(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=3.0)
    for seconds in [0.1] * (REMEMBERED - 2) + [0.55] * 2:
        answer(door, clock, seconds)
    # A tenth of a second for each place, and 0.45 s to spare.
    with ExitStack() as stack:
        assert fill(door, stack) == 25
    # The first of the slow ones is forgotten after so many quick ones, and one is too few.
    for _ in range(REMEMBERED // 2 - 1):
        answer(door, clock, 0.1)
    with ExitStack() as stack:
        assert fill(door, stack) == 30


def test_one_slow_clip_does_not_shut_the_door(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=3.0)
    for seconds in [0.1] * 40 + [60]:
        answer(door, clock, seconds)
    with ExitStack() as stack:
        assert fill(door, stack) == 30


def test_what_all_waited_for_once_is_not_counted_for_each_place(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=30.0)
    for seconds in [1.5] * 40 + [10.0] * 4:
        answer(door, clock, seconds, before=2)
    # Half a second for each place, and 8.5 s to spare.
    with ExitStack() as stack:
        assert fill(door, stack) == 43


def test_what_others_send_to_triton_is_not_counted_for_each_place(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=30.0)
    # Five seconds for others' requests, and half a second for each of its own.
    answer(door, clock, 6.5, before=2)
    for _ in range(REMEMBERED // 2):
        answer(door, clock, 10.0, before=9)
        answer(door, clock, 5.5)
    with ExitStack() as stack:
        assert fill(door, stack) == 30


def test_idle_time_is_not_slowness(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=3.0)
    for _ in range(10):
        answer(door, clock, 0.125)
        clock.now += 3600
    with ExitStack() as stack:
        assert fill(door, stack) == 24


def test_what_is_not_answered_says_nothing_of_the_time(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=3.0)
    answer(door, clock, 0.1)
    with door.admit():
        clock.now += 60
    with ExitStack() as stack:
        assert fill(door, stack) == 30


def test_a_few_are_let_in_however_slow_it_was(clock: Clock) -> None:
    door = Admission(most=1000, max_wait=3.0)
    answer(door, clock, 60)
    with ExitStack() as stack:
        assert fill(door, stack) == ALWAYS


def test_never_more_than_the_bound() -> None:
    door = Admission(most=7, max_wait=3.0)
    with ExitStack() as stack:
        assert fill(door, stack) == 7
