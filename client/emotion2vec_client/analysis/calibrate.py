"""Fits a policy's temperature and biases to labelled recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, IntArray, import_extra
from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.analysis.evaluation import calibration, uar
from emotion2vec_client.analysis.policy import LEAST, NINE, Policy

FOLDS = 5
STRENGTH = 0.01
"""Weight of the penalty on the squares of the biases, against the sum over all recordings: without
it, the bias of a label that no recording has would go to minus infinity."""

TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Before:
    """Figures on recordings that the fit did not see.

    Attributes:
        ece: Expected calibration error, 0 to 1.
        uar: Unweighted average recall, 0 to 1.
    """

    ece: float
    uar: float


def calibrate(
    scores: npt.ArrayLike,
    truth: Sequence[str],
    groups: Sequence[str] | None = None,
    policy: Policy | None = None,
) -> tuple[Policy, Before, Before]:
    """Fits temperature and biases by maximum likelihood, with a small penalty on the biases.

    Platt-style scaling with one temperature (Guo et al., 2017) and a bias per label. Labels that
    the truth does not have get a low one, and so are hardly answered any more. The fit is to the
    nine labels; the policy's bans and merges are applied afterwards.

    Args:
        scores: The nine, [n, 9], in the order of ``LABELS``.
        truth: The right label of each recording, one of the nine.
        groups: Speaker or group of each recording; no group is then both fitted and measured.
        policy: Supplies bans, merges, floor and names.

    Returns:
        The policy, fitted on all recordings, with the figures in ``validation``; the figures
        before; and those after, by cross-validation.

    Raises:
        AnalysisError: There are too few recordings or labels.
        MissingPackageError: scikit-learn is not installed.
    """
    matrix = np.asarray(scores, dtype=np.float64)
    right = np.array(truth, dtype=np.str_)
    folds = split(truth, groups)
    if matrix.shape != (len(right), len(NINE)):
        raise AnalysisError(
            f"calibration needs nine scores for each of {len(right)} recordings, but these have "
            f"the shape {list(matrix.shape)}"
        )
    base = policy or Policy()
    targets = np.array([NINE.index(name) for name in truth])
    after = np.empty((len(right), len(base.labels)))
    for fitted, measured in folds:
        made = _fit(matrix[fitted], targets[fitted], base)
        after[measured] = made.predict(matrix[measured])
    result = _fit(matrix, targets, base)
    old, new = _figures(base.predict(matrix), right, base), _figures(after, right, base)
    validation = {
        "files": len(right),
        "folds": len(folds),
        "groups": len(set(groups)) if groups is not None else None,
        "before": vars(old),
        "after": vars(new),
    }
    return replace(result, validation=validation), old, new


def _fit(scores: DoubleArray, targets: IntArray, base: Policy) -> Policy:
    """Maximises the likelihood of the nine labels; a convex problem in 1/temperature and biases."""
    minimize = import_extra("scipy.optimize").minimize
    logits = np.log(np.maximum(scores, LEAST))
    hits = np.eye(len(NINE))[targets]

    def loss(parameters: DoubleArray) -> tuple[float, DoubleArray]:
        moved = parameters[0] * logits + parameters[1:]
        moved -= moved.max(axis=1, keepdims=True)
        powers = np.exp(moved)
        sums = powers.sum(axis=1, keepdims=True)
        wrong = powers / sums - hits
        likelihood = (moved[np.arange(len(targets)), targets] - np.log(sums[:, 0])).mean()
        slope = np.concatenate([[(wrong * logits).sum(axis=1).mean()], wrong.mean(axis=0)])
        slope[1:] += 2 * STRENGTH * parameters[1:] / len(targets)
        return -likelihood + STRENGTH * float((parameters[1:] ** 2).sum()) / len(targets), slope

    start = np.concatenate([[1.0], np.zeros(len(NINE))])
    limits = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0])] + [(None, None)] * len(NINE)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits)
    bias = found.x[1:] - found.x[1:].mean()
    return replace(
        base,
        temperature=round(float(1 / found.x[0]), 6),
        bias={name: round(float(value), 6) for name, value in zip(NINE, bias)},
    )


def split(truth: Sequence[str], groups: Sequence[str] | None) -> list[tuple[IntArray, IntArray]]:
    """The recordings to fit on and those to measure on, for each fold.

    Args:
        truth: The right label of each recording.
        groups: Speaker or group of each recording; no group is in both.

    Raises:
        AnalysisError: There are too few recordings, labels or groups.
    """
    present, targets = np.unique(np.array(truth, dtype=np.str_), return_inverse=True)
    if len(present) < 2:
        raise AnalysisError(
            f"calibration needs recordings of two labels or more, but got {len(truth)} with the "
            f"labels {', '.join(present) or 'none'}"
        )
    selection = import_extra("sklearn.model_selection")
    if groups is not None:
        count = min(FOLDS, len(set(groups)))
        if count < 2:
            raise AnalysisError("calibration needs two speakers or groups, but all are the same")
        splitter: Any = selection.GroupKFold(count)
    else:
        count = int(min(FOLDS, np.unique(targets, return_counts=True)[1].min()))
        if count < 2:
            raise AnalysisError("calibration needs two recordings of each label: add some")
        splitter = selection.StratifiedKFold(count, shuffle=True, random_state=0)
    return list(splitter.split(targets, targets, groups))


def _figures(probabilities: DoubleArray, truth: npt.NDArray[np.str_], policy: Policy) -> Before:
    labels = np.array(policy.labels, dtype=np.str_)
    meant = np.array([policy.of(name) for name in truth], dtype=np.str_)
    answered = labels[probabilities.argmax(axis=1)]
    error = calibration(probabilities.max(axis=1), answered == meant).error
    return Before(error, uar(meant, answered))
