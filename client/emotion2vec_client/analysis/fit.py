"""Fits a head, and estimates its accuracy on new recordings or speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, IntArray, as_matrix, import_extra
from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.analysis.head import Head, Origin

FOLDS = 5
ITERATIONS = 5000


@dataclass(frozen=True, eq=False)
class Validation:
    """Result of a cross-validation, in which every file is classified by a model without it.

    Attributes:
        labels: The L labels.
        confusion: Files of each true label (row) by predicted label (column), int64 [L, L].
        by: ``group`` if no group was in both training and test, else ``file``.
        folds: Number of folds.
        incomplete_folds: Folds whose training part lacked a label, so that all test files with
            that label counted as wrong.
    """

    labels: tuple[str, ...]
    confusion: IntArray
    by: str
    folds: int
    incomplete_folds: int

    @property
    def accuracy(self) -> float:
        """Share of files that were classified correctly, 0 to 1."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recalls(self) -> DoubleArray:
        """Share of each label's files that were classified correctly, float64 [L]."""
        return np.asarray(np.diag(self.confusion) / self.confusion.sum(axis=1), dtype=np.float64)

    @property
    def uar(self) -> float:
        """Unweighted average recall, the mean of ``recalls``; guessing gives 1 / L."""
        return float(self.recalls.mean())

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON types."""
        return {
            "by": self.by,
            "folds": self.folds,
            "incomplete_folds": self.incomplete_folds,
            "files": int(self.confusion.sum()),
            "accuracy": self.accuracy,
            "uar": self.uar,
            "confusion": self.confusion.tolist(),
        }


def fit_head(
    embeddings: npt.ArrayLike,
    labels: Sequence[str],
    card: Mapping[str, Any],
    groups: Sequence[str] | None = None,
) -> tuple[Head, Validation]:
    """Fits standardisation and a logistic regression that weights all labels equally.

    Args:
        embeddings: float32 [n, D].
        labels: n names; at least two different ones, each with at least two files.
        card: Card of the model that made the embeddings, ``client.model_info().card``.
        groups: n names, such as speakers; the cross-validation keeps each group together. With a
            single group, it splits by file.

    Returns:
        The head, fitted on all files, and the result of the cross-validation.

    Raises:
        AnalysisError: The data or the card is unusable.
        MissingPackageError: scikit-learn is not installed.
    """
    matrix = as_matrix(embeddings, 4, "a head")
    _check(matrix, labels, groups)
    origin = Origin.of_card(card)
    names, targets = np.unique(np.asarray(labels), return_inverse=True)
    classes = tuple(str(name) for name in names)
    validation = _cross_validate(matrix, targets, classes, groups)
    scaler, regression = _fit(matrix, targets)
    coefficients, intercept = regression.coef_, regression.intercept_
    if len(classes) == 2:
        # scikit-learn fits only the difference of two classes; halves of it give the same softmax.
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    head = Head(
        labels=classes,
        mean=scaler.mean_,
        scale=scaler.scale_,
        coefficients=coefficients,
        intercept=intercept,
        origin=origin,
        validation=validation.to_dict(),
    )
    return head, validation


def _check(matrix: DoubleArray, labels: Sequence[str], groups: Sequence[str] | None) -> None:
    for name, values in (("labels", labels), ("groups", groups)):
        if values is not None and len(values) != len(matrix):
            raise AnalysisError(
                f"there are {len(matrix)} embeddings and {len(values)} {name}: give one for each"
            )
    counts = Counter(labels)
    if len(counts) < 2:
        raise AnalysisError(
            f"all files have the label {labels[0]!r}: give files of at least two labels"
        )
    rarest, count = min(counts.items(), key=lambda item: item[1])
    if count < 2:
        raise AnalysisError(
            f"label {rarest!r} has one file, so none is left to test with: give at least two, "
            "better ten or more"
        )


def _cross_validate(
    matrix: DoubleArray,
    targets: IntArray,
    classes: tuple[str, ...],
    groups: Sequence[str] | None,
) -> Validation:
    selection = import_extra("sklearn.model_selection")
    distinct = len(set(groups)) if groups is not None else 0
    if distinct < 2:
        groups = None
    if groups is not None:
        folds = min(FOLDS, distinct)
        splitter = selection.GroupKFold(folds)
    else:
        folds = min(FOLDS, int(np.bincount(targets).min()))
        splitter = selection.StratifiedKFold(folds, shuffle=True, random_state=0)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    incomplete = 0
    for training, test in splitter.split(matrix, targets, groups):
        known = np.unique(targets[training])
        incomplete += len(known) < len(classes)
        if len(known) == 1:
            predicted = np.full(len(test), known[0])
        else:
            # Scale by the training part alone: nothing about the test part may leak.
            scaler, regression = _fit(matrix[training], targets[training])
            predicted = regression.predict(scaler.transform(matrix[test]))
        np.add.at(confusion, (targets[test], predicted), 1)
    return Validation(
        labels=classes,
        confusion=confusion,
        by="file" if groups is None else "group",
        folds=folds,
        incomplete_folds=incomplete,
    )


def _fit(matrix: DoubleArray, targets: IntArray) -> tuple[Any, Any]:
    """Fitted StandardScaler and LogisticRegression."""
    scaler = import_extra("sklearn.preprocessing").StandardScaler().fit(matrix)
    regression = import_extra("sklearn.linear_model").LogisticRegression(
        class_weight="balanced", max_iter=ITERATIONS
    )
    return scaler, regression.fit(scaler.transform(matrix), targets)
