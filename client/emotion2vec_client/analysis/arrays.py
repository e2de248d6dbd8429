"""Checks and imports that all analyses share."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.errors import AnalysisError, MissingPackageError

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def as_matrix(embeddings: npt.ArrayLike, least: int = 1, purpose: str = "this") -> DoubleArray:
    """Checks embeddings and turns them into doubles.

    Args:
        embeddings: Numbers [n, D].
        least: Smallest number of rows that the analysis can use.
        purpose: Name of the analysis, for the error.

    Returns:
        float64 [n, D].

    Raises:
        AnalysisError: They are not a finite matrix, or have too few rows.
    """
    matrix = np.asarray(embeddings, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise AnalysisError(
            f"embeddings have shape {list(matrix.shape)}: give one row of numbers per file, [n, D]"
        )
    if len(matrix) < least:
        raise AnalysisError(
            f"{purpose} needs at least {least} files and got {len(matrix)}: give more"
        )
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise AnalysisError(
            f"the embedding in row {int(np.argmin(finite))} has a number that is not finite: "
            "leave its file out, and check the server's model"
        )
    return matrix


def import_extra(module: str, extra: str = "analysis") -> Any:
    """Imports a module of an extra late.

    These packages take a second or more to import, and similarity and heads do not need them.

    Raises:
        MissingPackageError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"this needs the package of the module {error.name!r}, which is not installed: "
            f"pip install './client[{extra}]'"
        ) from error
