"""Clusters of embeddings, against known groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emotion2vec_client.analysis import AnalysisError
from emotion2vec_client.analysis.clustering import find_clusters
from tests.unit.blobs import blobs


def test_auto_finds_three_blobs() -> None:
    rows, truth = blobs(3, 8)
    found = find_clusters(rows)
    assert found.k == 3
    assert max(found.tried, key=found.tried.__getitem__) == 3
    assert list(found.tried) == list(range(2, 11))
    for cluster in range(3):
        members = found.members(cluster)
        assert len(set(truth[members])) == 1
        assert len(members) == 8
        centre = rows[members].mean(axis=0)
        distances = np.linalg.norm(rows[members] - centre, axis=1)
        np.testing.assert_allclose(found.distance[members], distances, rtol=1e-4)
        assert (np.diff(distances) > -1e-4).all(), "nearest first"


def test_the_silhouette_is_its_definition() -> None:
    rows, _ = blobs(2, 5, spread=3.0)
    found = find_clusters(rows, 2)
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    for row, own in enumerate(found.assignment):
        same = np.flatnonzero(found.assignment == own)
        if len(same) == 1:
            assert found.silhouette[row] == 0
            continue
        inside = distance[row, same].sum() / (len(same) - 1)
        outside = distance[row, found.assignment != own].mean()
        expected = (outside - inside) / max(outside, inside)
        assert found.silhouette[row] == pytest.approx(expected, abs=1e-5)
    assert found.score == pytest.approx(found.silhouette.mean())


def test_the_largest_cluster_is_the_first() -> None:
    rows, _ = blobs(3, 8)
    found = find_clusters(rows[[0, 1, *range(8, 16), *range(16, 20)]], 3)
    assert np.bincount(found.assignment).tolist() == [8, 4, 2]


@pytest.mark.parametrize(
    ("rows", "k", "words"),
    [
        (np.eye(2), None, "clustering needs at least 3 files and got 2"),
        (np.ones((5, 3)), None, "all 5 embeddings are the same"),
        (np.eye(4), 4, "take 2 to 3"),
        (np.eye(4), 1, "1 clusters of 4 files"),
        (np.eye(6)[[0, 0, 1, 1, 1]], 3, "2 of them different"),
    ],
)
def test_what_cannot_be_clustered_is_refused(rows: Any, k: Any, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        find_clusters(rows, k)
