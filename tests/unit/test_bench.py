"""How the benchmarks compute figures from requests."""

from __future__ import annotations

import itertools
import math

import pytest

from benchmarks.corpus import RATES, Clip, Deck
from benchmarks.measurement import Load, Measurement, Request
from benchmarks.plan import Results, saturated
from benchmarks.report import verdict
from benchmarks.summary import (
    errors,
    judged,
    padded_share,
    percentile,
    unfairness,
)
from benchmarks.triton_stats import ModelStats, difference


def clip(seconds: int) -> Clip:
    return Clip(seconds, "wav", b"")


def request(seconds: int, latency: float, error: str = "") -> Request:
    return Request(clip(seconds), 0.0, latency, error)


def measurement(requests: list[Request], wall: float = 1.0) -> Measurement:
    return Measurement(Load("a load", "gRPC", 1, []), requests, wall, {}, 0.0)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(reversed(values), share) for share in (0, 0.5, 0.95, 1)] == [1, 50, 95, 100]
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) is None


def test_the_target_is_about_short_clips_and_an_error_is_an_endless_wait() -> None:
    fast = [request(10, 1.0)] * 19
    assert judged([*fast, request(10, 9.0), request(30, 50.0)]) == 1.0
    assert judged([*fast, request(3, 9.0), request(3, 9.0)]) == 9.0
    assert judged([*fast, *[request(3, 0.1, "refused")] * 2]) == math.inf
    assert judged([]) == math.inf


def test_each_protocol_that_breaks_the_target_is_named() -> None:
    slow, fast = measurement([request(10, 3.0)]), measurement([request(10, 1.0)])
    results = Results({}, {"gRPC": slow, "REST": fast}, {}, {}, fast)
    assert verdict(results, 2.0) == ["a load: p95 is 3.00 s, but the target is 2 s"]
    assert not verdict(results, 3.0)


def test_clips_of_one_length_or_alone_need_no_padding() -> None:
    assert padded_share({1: 5}, [1, 10, 30]) == pytest.approx(0)
    assert padded_share({2: 3, 4: 1}, [10, 10, 10]) == pytest.approx(0)
    assert padded_share({}, [10]) is None


def test_padding_is_what_random_batches_would_have() -> None:
    lengths, size = [1, 3, 3, 10], 3
    slots = [50 * seconds + 10 for seconds in lengths]
    batches = list(itertools.product(slots, repeat=size))
    expected = 1 - sum(map(sum, batches)) / sum(size * max(batch) for batch in batches)
    assert padded_share({size: 7}, lengths) == pytest.approx(expected)


def test_long_clips_may_take_longer_but_nobody_may_starve() -> None:
    even = [request(1, 0.1)] * 50 + [request(30, 3.0)] * 50
    assert unfairness(even) == pytest.approx(1.0)
    assert unfairness([*even, request(1, 0.8), request(1, 0.8)]) == pytest.approx(8.0)


def test_a_sweep_ends_where_twice_the_clients_gain_nothing() -> None:
    def sweep(*rates: int) -> dict[int, Measurement]:
        return {2**power: measurement([request(rate, 0.1)]) for power, rate in enumerate(rates)}

    assert not saturated(sweep(10, 10, 10))  # eight clients are always measured
    assert saturated(sweep(10, 10, 10, 10))
    assert not saturated(sweep(10, 20, 40, 80))


def test_every_round_has_each_length_once() -> None:
    deck = Deck([clip(seconds) for seconds in (1, 5, 30)] * 2)
    drawn = [deck.draw() for _ in range(7)]
    rounds = [[each.seconds for each in drawn[at : at + 3] if each] for at in (0, 3)]
    assert [sorted(each) for each in rounds] == [[1, 5, 30]] * 2
    deck.close()
    assert len(list(iter(deck.draw, None))) == 2


def test_as_many_clips_as_there_are_formats_have_each_once() -> None:
    deck = Deck([Clip(seconds, suffix, b"") for seconds in (1, 5, 30) for suffix in RATES])
    drawn = [deck.draw() for _ in range(2 * len(RATES))]
    formats = [each.format for each in drawn if each]
    assert set(formats[: len(RATES)]) == set(formats[len(RATES) :]) == set(RATES)


def test_a_load_that_is_over_before_its_first_clip_still_sends_a_round() -> None:
    deck = Deck([clip(1), clip(5)])
    deck.close()
    assert len(list(iter(deck.draw, None))) == 2


def test_statistics_are_of_the_time_between() -> None:
    queued = {"queue": 1.0, "compute": 2.0}
    before = {"encoder": ModelStats(2, queued, {1: 2}, 2.0)}
    after = {"encoder": ModelStats(8, {"queue": 7.0, "compute": 5.0}, {1: 2, 2: 1, 4: 1}, 4.0)}
    between = difference(after, before)["encoder"]
    assert between == ModelStats(6, {"queue": 6.0, "compute": 3.0}, {2: 1, 4: 1}, 2.0)
    assert (between.mean("queue"), between.mean_batch) == (1.0, 3.0)


def test_errors_that_differ_in_numbers_are_of_one_kind() -> None:
    first = "PredictionTimeoutError: no answer from h:1 in 2.5 s"
    second = "PredictionTimeoutError: no answer from h:1 in 3 s"
    other = "OverloadedError: the queue is full"
    found = errors([request(1, 1, error) for error in (other, first, second, "")])
    assert found == [
        ("PredictionTimeoutError", 2, "no answer from h:1 in 2.5 s"),
        ("OverloadedError", 1, "the queue is full"),
    ]
