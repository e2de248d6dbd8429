"""Which requests the gateway admits, against estimates computed by hand."""

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


def fill(gate: Admission, stack: ExitStack, most: int = 100) -> int:
    """Enters as many requests as are admitted; returns how many."""
    for count in range(most):
        try:
            stack.enter_context(gate.admit())
        except Problem as problem:
            assert (problem.status_code, problem.code) == (429, "overloaded")
            assert problem.headers == {"Retry-After": "1"}
            return count
    return most


def answer(gate: Admission, clock: Clock, seconds: float, before: int = 0) -> None:
    """One answer that took this long, behind ``before`` requests that are never answered."""
    with ExitStack() as stack:
        for _ in range(before):
            stack.enter_context(gate.admit())
        answered = stack.enter_context(gate.admit())
        clock.now += seconds
        answered()


def test_as_many_as_are_answered_in_time(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=3.0)
    # The fourth in the queue waited one second, so three seconds are enough for twelve.
    answer(gate, clock, 1.0, before=3)
    with ExitStack() as stack:
        assert fill(gate, stack) == 12
    # Each request that ends makes room for one.
    with ExitStack() as stack:
        fill(gate, stack)
        stack.pop_all().close()
        assert fill(gate, stack) == 12


def test_the_95th_percentile_counts_and_is_forgotten(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=3.0)
    for seconds in [0.1] * (REMEMBERED - 2) + [0.55] * 2:
        answer(gate, clock, seconds)
    # 0.1 s for each place in the queue, and a 95th percentile of 0.45 s beyond that.
    with ExitStack() as stack:
        assert fill(gate, stack) == 25
    # After this many quick ones the first slow one is forgotten, and one slow one is too few.
    for _ in range(REMEMBERED // 2 - 1):
        answer(gate, clock, 0.1)
    with ExitStack() as stack:
        assert fill(gate, stack) == 30


def test_one_slow_clip_does_not_stop_admission(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=3.0)
    for seconds in [0.1] * 40 + [60]:
        answer(gate, clock, seconds)
    with ExitStack() as stack:
        assert fill(gate, stack) == 30


def test_a_delay_of_all_is_not_counted_for_each_place(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=30.0)
    for seconds in [1.5] * 40 + [10.0] * 4:
        answer(gate, clock, seconds, before=2)
    # 0.5 s for each place in the queue, and 8.5 s beyond that.
    with ExitStack() as stack:
        assert fill(gate, stack) == 43


def test_the_wait_for_other_clients_is_not_counted_for_each_place(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=30.0)
    # Five seconds for other clients' requests, and 0.5 s for each of the gateway's.
    answer(gate, clock, 6.5, before=2)
    for _ in range(REMEMBERED // 2):
        answer(gate, clock, 10.0, before=9)
        answer(gate, clock, 5.5)
    with ExitStack() as stack:
        assert fill(gate, stack) == 30


def test_idle_time_is_not_slowness(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=3.0)
    for _ in range(10):
        answer(gate, clock, 0.125)
        clock.now += 3600
    with ExitStack() as stack:
        assert fill(gate, stack) == 24


def test_requests_without_an_answer_do_not_change_the_estimate(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=3.0)
    answer(gate, clock, 0.1)
    with gate.admit():
        clock.now += 60
    with ExitStack() as stack:
        assert fill(gate, stack) == 30


def test_a_few_are_always_admitted(clock: Clock) -> None:
    gate = Admission(most=1000, max_wait=3.0)
    answer(gate, clock, 60)
    with ExitStack() as stack:
        assert fill(gate, stack) == ALWAYS


def test_never_more_than_the_bound() -> None:
    gate = Admission(most=7, max_wait=3.0)
    with ExitStack() as stack:
        assert fill(gate, stack) == 7
