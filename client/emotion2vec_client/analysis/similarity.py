"""Similarity of embeddings: their cosine, raw and centred on a reference set.

All emotion2vec embeddings share a large common part, so raw cosines are nearly always above 0.9,
even between emotions. Centring subtracts that part, the mean of a reference set; the cosine then
spreads from -1 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, as_matrix
from emotion2vec_client.analysis.errors import AnalysisError

LEAST = 2

LEAST_TO_CENTRE = 3
"""Two files centred on their own mean are always exact opposites."""

LEAST_REFERENCE = 2

ROUNDING = 1e-6
"""A centred vector shorter than this share of the original is rounding error of float32."""


@dataclass(frozen=True, eq=False)
class Typical:
    """Similarity of two different members of the reference set, for comparison.

    Attributes:
        raw: Median of their raw cosines.
        centred: Median of their centred cosines.
        size: Members of the reference set.
    """

    raw: float
    centred: float
    size: int


@dataclass(frozen=True, eq=False)
class Similarity:
    """Cosines between all pairs of files.

    Attributes:
        raw: float64 [n, n], -1 to 1.
        centred: float64 [n, n] after subtracting the mean of the reference, NaN for a file that
            equals the mean; None without a reference.
        typical: Similarity within the reference; None if ``centred`` is None.
        own_mean: Whether the files themselves were the reference.
    """

    raw: DoubleArray
    centred: DoubleArray | None
    typical: Typical | None
    own_mean: bool


def cosine(embeddings: npt.ArrayLike, centre: npt.ArrayLike | None = None) -> DoubleArray:
    """Cosines between all pairs of rows.

    Args:
        embeddings: Numbers [n, D].
        centre: Numbers [D] to subtract from every row first.

    Returns:
        float64 [n, n], symmetric, within -1 to 1; NaN in the row and column of a vector of which
        only rounding error is left.

    Raises:
        AnalysisError: The embeddings are not a finite matrix, or the centre has another width.
    """
    matrix = as_matrix(embeddings)
    lengths = np.linalg.norm(matrix, axis=1)
    if centre is not None:
        middle = np.asarray(centre, dtype=np.float64)
        if middle.shape != matrix.shape[1:]:
            raise AnalysisError(
                f"the centre has shape {list(middle.shape)}, but the embeddings are "
                f"{matrix.shape[1]} wide: take both from one model"
            )
        matrix = matrix - middle
    left = np.linalg.norm(matrix, axis=1)
    left[left <= ROUNDING * lengths] = np.nan
    unit = matrix / left[:, None]
    cosines: DoubleArray = np.clip(unit @ unit.T, -1.0, 1.0)
    return cosines


def compare(embeddings: npt.ArrayLike, reference: npt.ArrayLike | None = None) -> Similarity:
    """Compares every file with every other.

    Args:
        embeddings: Numbers [n, D], n at least 2.
        reference: Numbers [m, D], m at least 2, whose mean stands for what all speech shares. By
            default the files themselves, if there are at least three.

    Raises:
        AnalysisError: There are too few, or their widths differ.
    """
    matrix = as_matrix(embeddings, LEAST, "similarity")
    raw = cosine(matrix)
    if reference is not None:
        base = as_matrix(reference, LEAST_REFERENCE, "a reference set")
    elif len(matrix) >= LEAST_TO_CENTRE:
        base = matrix
    else:
        return Similarity(raw=raw, centred=None, typical=None, own_mean=False)
    centre = base.mean(axis=0)
    typical = Typical(
        raw=_median_of_pairs(cosine(base)),
        centred=_median_of_pairs(cosine(base, centre)),
        size=len(base),
    )
    return Similarity(raw, cosine(matrix, centre), typical, own_mean=reference is None)


def _median_of_pairs(cosines: DoubleArray) -> float:
    pairs = cosines[np.triu_indices(len(cosines), k=1)]
    known = pairs[~np.isnan(pairs)]
    return float(np.median(known)) if len(known) else float("nan")
