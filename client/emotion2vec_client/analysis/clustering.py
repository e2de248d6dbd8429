"""Groups similar embeddings by k-means, and rates the groups by their silhouette."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, IntArray, as_matrix, import_extra
from emotion2vec_client.analysis.errors import AnalysisError

LEAST = 3
"""The silhouette needs two clusters, one of which has at least two files."""

MOST_AUTO = 10
STARTS = 10


@dataclass(frozen=True, eq=False)
class Clusters:
    """Files in clusters, the largest cluster first.

    Attributes:
        assignment: Cluster of each file, int64 [n], 0 to k - 1.
        distance: Distance of each file to its cluster's centre, float64 [n], in the embedding's
            unit.
        silhouette: How much better each file fits its own cluster than the next, float64 [n]: 1
            is a good fit, 0 between two clusters, below 0 closer to the other.
        tried: Mean silhouette for each number of clusters that was tried.
    """

    assignment: IntArray
    distance: DoubleArray
    silhouette: DoubleArray
    tried: Mapping[int, float]

    @property
    def k(self) -> int:
        """Number of clusters."""
        return int(self.assignment.max()) + 1

    @property
    def score(self) -> float:
        """Mean silhouette of all files, -1 to 1."""
        return float(self.silhouette.mean())

    def members(self, cluster: int) -> list[int]:
        """Rows of a cluster's files, the nearest to its centre first."""
        rows = np.flatnonzero(self.assignment == cluster)
        return [int(row) for row in rows[np.argsort(self.distance[rows], kind="stable")]]


def find_clusters(embeddings: npt.ArrayLike, k: int | None = None, seed: int = 0) -> Clusters:
    """Divides embeddings into clusters by k-means.

    Args:
        embeddings: Numbers [n, D], n at least 3.
        k: Number of clusters, 2 to n - 1; None tries up to 10 and takes the best mean silhouette,
            with the smaller number if two are equal. It always finds some, so check the
            silhouette: near 0 there are no clusters.
        seed: Seed of the random starts; the same seed gives the same clusters.

    Raises:
        AnalysisError: There are too few different files for this number of clusters.
        MissingPackageError: scikit-learn is not installed.
    """
    matrix = as_matrix(embeddings, LEAST, "clustering")
    distinct = len(np.unique(matrix, axis=0))
    most = min(len(matrix) - 1, distinct)
    if most < 2:
        raise AnalysisError(
            f"all {len(matrix)} embeddings are the same, so there are no clusters: give different "
            "recordings"
        )
    if k is not None and not 2 <= k <= most:
        raise AnalysisError(
            f"{k} clusters of {len(matrix)} files, {distinct} of them different, are not possible: "
            f"take 2 to {most}"
        )
    counts = range(2, min(MOST_AUTO, most) + 1) if k is None else [k]
    found = {count: _k_means(matrix, count, seed) for count in counts}
    tried = {count: float(silhouette.mean()) for count, (_, silhouette) in found.items()}
    # Of equal values, max() keeps the first: the smaller number of clusters.
    model, silhouette = found[max(tried, key=tried.__getitem__)]
    sizes = np.bincount(model.labels_)
    order = np.argsort(-sizes, kind="stable")
    rank = np.argsort(order, kind="stable")
    return Clusters(
        assignment=rank[model.labels_].astype(np.int64),
        distance=np.linalg.norm(matrix - model.cluster_centers_[model.labels_], axis=1),
        silhouette=silhouette,
        tried=tried,
    )


def _k_means(matrix: DoubleArray, count: int, seed: int) -> tuple[Any, DoubleArray]:
    model = import_extra("sklearn.cluster").KMeans(count, n_init=STARTS, random_state=seed)
    model.fit(matrix)
    silhouette = import_extra("sklearn.metrics").silhouette_samples(matrix, model.labels_)
    return model, silhouette
