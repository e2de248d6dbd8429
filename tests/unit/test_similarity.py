"""Cosines of embeddings, against numbers computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emotion2vec_client.analysis import AnalysisError
from emotion2vec_client.analysis.similarity import compare, cosine
from tests.unit.blobs import DIM, blobs


def test_cosines_are_those_worked_out_by_hand() -> None:
    rows = np.array([[1, 0], [3, 4], [0, -2]], dtype=np.float32)
    expected = [[1, 0.6, 0], [0.6, 1, -0.8], [0, -0.8, 1]]
    np.testing.assert_allclose(cosine(rows), expected, atol=1e-12)
    # After subtracting (1, 0), the first row is zero and has no direction.
    expected = [[np.nan] * 3, [np.nan, 1, -10 / 10], [np.nan, -1, 1]]
    centred = cosine([[1, 0], [3, 4], [0, -2]], centre=[1, 0])
    expected[1][2] = expected[2][1] = (2 * -1 + 4 * -2) / np.sqrt(20 * 5)
    np.testing.assert_allclose(centred, expected, atol=1e-12)


def test_centring_subtracts_the_mean() -> None:
    random = np.random.default_rng(1)
    rows, reference = random.normal(size=(4, DIM)), random.normal(size=(50, DIM))
    offset = 40.0
    alone = compare(rows, reference)
    moved = compare(rows + offset, reference + offset)
    assert moved.raw.min() > 0.99
    assert moved.centred is not None and alone.centred is not None
    np.testing.assert_allclose(moved.centred, alone.centred, atol=1e-9)
    assert moved.typical.raw > 0.99
    assert abs(moved.typical.centred) < 0.1
    assert moved.typical.size == 50


def test_files_centre_themselves_only_from_three_on() -> None:
    rows, _ = blobs(3, 1)
    assert compare(rows[:2]).centred is None
    result = compare(rows)
    assert result.own_mean and result.centred is not None
    np.testing.assert_allclose(result.centred, cosine(rows, rows.mean(axis=0)), atol=1e-6)


def test_a_file_that_is_the_mean_has_no_centred_cosine() -> None:
    rounding = 1e-8 * np.random.default_rng(0).normal(size=(3, DIM))
    result = compare(1 + rounding)
    assert result.centred is not None and np.isnan(result.centred).all()
    np.testing.assert_allclose(result.raw, 1.0)


@pytest.mark.parametrize(
    ("rows", "reference", "words"),
    [
        (np.ones((1, 4)), None, "similarity needs at least 2 files and got 1"),
        (np.ones(4), None, r"shape \[4\]"),
        (np.full((3, 4), np.inf), None, "row 0 .* not finite"),
        (np.ones((3, 4)), np.ones((1, 4)), "reference set needs at least 2"),
        (np.ones((3, 4)), np.ones((5, 6)), "4 wide"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows: Any, reference: Any, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        compare(rows, reference)
