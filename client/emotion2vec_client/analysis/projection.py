"""Projects embeddings to points in the plane."""

from __future__ import annotations

import importlib.util
from typing import Literal

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, as_matrix, import_extra
from emotion2vec_client.analysis.errors import AnalysisError, MissingPackageError

Method = Literal["tsne", "umap"]

LEAST = 3
"""Two points always form a line, whatever the embeddings."""

FEW = 10
"""Below this many points, their places depend more on the method than on the data."""

PERPLEXITY = 30.0
NEIGHBOURS = 15
COMPONENTS = 50

MANY = 2_000
"""Below this many points, t-SNE is faster on one thread."""


def project(embeddings: npt.ArrayLike, method: Method = "tsne", seed: int = 0) -> DoubleArray:
    """Places similar embeddings near one another.

    Only nearness has a meaning; axes, sizes of groups and distances between them have none. The
    same embeddings and seed give the same map.

    Args:
        embeddings: Numbers [n, D], n at least 3.
        method: ``tsne``, or ``umap``, which needs umap-learn.
        seed: Seed of the random numbers.

    Returns:
        float64 [n, 2], without unit.

    Raises:
        AnalysisError: There are too few files, all are equal, or the method is unknown.
        MissingPackageError: The package that the method needs is not installed.
    """
    matrix = as_matrix(embeddings, LEAST, "a map")
    if not np.ptp(matrix, axis=0).any():
        raise AnalysisError(
            f"all {len(matrix)} embeddings are the same, so there is nothing to map: give "
            "different recordings"
        )
    check_method(method)
    points = _tsne(matrix, seed) if method == "tsne" else _umap(matrix, seed)
    return np.asarray(points, dtype=np.float64)


def check_method(method: str) -> None:
    """Refuses a method that is unknown or not installed, before any file is sent.

    Raises:
        AnalysisError: The method is unknown.
        MissingPackageError: The package that the method needs is not installed.
    """
    if method not in ("tsne", "umap"):
        raise AnalysisError(f"unknown method {method!r}: use 'tsne' or 'umap'")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise MissingPackageError(
            "method 'umap' needs umap-learn, which is not installed: pip install umap-learn, or "
            "use 'tsne'"
        )
    if method == "tsne":
        import_extra("sklearn")


def perplexity(count: int) -> float:
    """Neighbours that t-SNE considers per point: a third of all others, 1.5 to 30."""
    return min(PERPLEXITY, max(1.5, (count - 1) / 3))


def _tsne(matrix: DoubleArray, seed: int) -> npt.NDArray[np.float32]:
    manifold = import_extra("sklearn.manifold")
    if min(matrix.shape) > COMPONENTS:
        # The authors of t-SNE advise this: it hardly changes distances, and removes noise.
        decomposition = import_extra("sklearn.decomposition")
        matrix = decomposition.PCA(COMPONENTS, random_state=seed).fit_transform(matrix)
    tsne = manifold.TSNE(perplexity=perplexity(len(matrix)), init="pca", random_state=seed)
    threads = 1 if len(matrix) < MANY else None
    with import_extra("threadpoolctl").threadpool_limits(threads, "openmp"):
        points: npt.NDArray[np.float32] = tsne.fit_transform(matrix)
    return points


def _umap(matrix: DoubleArray, seed: int) -> npt.NDArray[np.float32]:
    neighbours = min(NEIGHBOURS, len(matrix) - 1)
    umap = import_extra("umap").UMAP(
        n_neighbors=neighbours,
        # The spectral start fails with very few points.
        init="spectral" if len(matrix) >= FEW else "random",
        random_state=seed,
        # With a seed, umap uses one thread anyway, and warns without this.
        n_jobs=1,
    )
    points: npt.NDArray[np.float32] = umap.fit_transform(matrix)
    return points
