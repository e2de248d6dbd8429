"""Which requests of a batch a CPU computes together."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.backends.onnxruntime.parts import split


def test_short_clips_go_together_and_first_and_long_ones_alone() -> None:
    assert split([480, 30, 160, 20, 90], 160) == [[3, 1], [4], [2], [0]]
    assert split([50, 50, 50, 50], 160) == [[0, 1, 2], [3]]


def test_without_a_limit_a_batch_is_one_part() -> None:
    assert split([480, 30, 160], None) == [[0, 1, 2]]
    assert split([], None) == []


# A busy machine takes seconds for an example.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 500_000)), st.integers(1, 500_000))
def test_every_request_is_in_one_part_which_is_within_the_limit(
    sizes: list[int], limit: int
) -> None:
    parts = split(sizes, limit)
    assert sorted(position for part in parts for position in part) == list(range(len(sizes)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(sizes[position] for position in part) <= limit
