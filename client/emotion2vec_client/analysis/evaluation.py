"""How good answers are: figures, their confidence intervals, and how far to trust confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, IntArray, import_extra
from emotion2vec_client.analysis.errors import AnalysisError

EVASIVE = ("other", "unknown")
"""Answers that name no emotion."""

BINS = 10
"""Intervals of the confidence, for the calibration error."""

RESAMPLES = 1000
LENGTHS = (2.0, 5.0, 10.0)
"""Borders between classes of length, in seconds."""

Names = npt.NDArray[Any]


@dataclass(frozen=True)
class Figure:
    """A measure with its 95 % confidence interval, from bootstrapping over the recordings.

    Attributes:
        value: 0 to 1.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """The figures of some of the recordings.

    Attributes:
        name: What they have in common, such as a speaker.
        files: How many they are.
        uar: Unweighted average recall.
        accuracy: Share of right answers.
    """

    name: str
    files: int
    uar: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """How confidences compare with the share of right answers.

    Attributes:
        error: Expected calibration error (Naeini et al., 2015), 0 to 1: the mean distance of
            confidence and accuracy in `BINS` intervals of equal width, weighted by their files.
        confidence: Mean confidence in each interval that has files, float64 [b].
        accuracy: Share of right answers there, float64 [b].
        files: Files there, int64 [b].
    """

    error: float
    confidence: DoubleArray
    accuracy: DoubleArray
    files: IntArray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of answers against the truth.

    Attributes:
        files: Number of recordings.
        truths: The K labels in the truth, sorted; averages are over these.
        answers: The truths, then labels that were only answered.
        uar: Unweighted average recall.
        wa: Weighted accuracy: the share of right answers.
        micro_f1: F1 over all decisions on labels in the truth.
        macro_f1: Mean of the labels' F1.
        recalls: Recall by label in the truth.
        confusion: int64 [K, A]: rows are the truth, columns the answers.
        calibration: For the confidences of the answers.
        evasive: Share of the answers in `EVASIVE`, by label.
        without: The figures if these labels could not be answered, without recordings whose truth
            they are; None if there is nothing to leave out.
        by_group: By speaker or group; empty if there are none.
        by_length: By length.
    """

    files: int
    truths: tuple[str, ...]
    answers: tuple[str, ...]
    uar: Figure
    wa: Figure
    micro_f1: Figure
    macro_f1: Figure
    recalls: Mapping[str, float]
    confusion: IntArray
    calibration: Calibration
    evasive: Mapping[str, float]
    without: Part | None
    by_group: tuple[Part, ...]
    by_length: tuple[Part, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON types."""
        return {
            "files": self.files,
            "labels": list(self.truths),
            "answers": list(self.answers),
            **{name: vars(getattr(self, name)) for name in MEASURES},
            "recalls": dict(self.recalls),
            "confusion": self.confusion.tolist(),
            "ece": self.calibration.error,
            "reliability": [
                {"confidence": confidence, "accuracy": accuracy, "files": files}
                for confidence, accuracy, files in zip(
                    self.calibration.confidence.tolist(),
                    self.calibration.accuracy.tolist(),
                    self.calibration.files.tolist(),
                )
            ],
            "evasive": dict(self.evasive),
            "without_evasive": vars(self.without) if self.without else None,
            "by_group": [vars(part) for part in self.by_group],
            "by_length": [vars(part) for part in self.by_length],
        }


def evaluate(
    truth: Sequence[str],
    probabilities: npt.ArrayLike,
    labels: Sequence[str],
    *,
    floor: float = 0.0,
    uncertain: str = "uncertain",
    groups: Sequence[str] | None = None,
    seconds: Sequence[float] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Compares answers with the truth.

    Args:
        truth: The right label of each of n recordings.
        probabilities: float [n, L]; the largest one is the answer.
        labels: Their L labels.
        floor: Answers with a smaller probability count as ``uncertain``.
        uncertain: The answer under the floor.
        groups: Speaker or group of each recording, None if unknown.
        seconds: Length of each recording, None if unknown.
        seed: Of the bootstrap.

    Raises:
        AnalysisError: There are no recordings, or the arguments do not match.
        MissingPackageError: audmetric or scikit-learn is not installed.
    """
    right = np.array(truth, dtype=np.str_)
    matrix = np.asarray(probabilities, dtype=np.float64)
    if len(right) == 0 or matrix.shape != (len(right), len(labels)):
        raise AnalysisError(
            f"{len(right)} recordings and {len(labels)} labels need probabilities of that shape, "
            f"but these have {list(matrix.shape)}"
        )
    answered, strongest, confidence = _decide(matrix, labels, floor, uncertain)
    truths = tuple(sorted(set(right.tolist())))
    columns = (*truths, *sorted(set(answered.tolist()) - set(truths)))
    metrics = import_extra("sklearn.metrics")
    table = metrics.confusion_matrix(right, answered, labels=list(columns))[: len(truths)]
    # With the truth's labels only, audmetric would leave out recordings that got other answers.
    recalls = import_extra("audmetric").recall_per_class(right, answered, list(columns))
    return Evaluation(
        files=len(right),
        truths=truths,
        answers=columns,
        **_figures(right, answered, seed),
        recalls={name: recalls[name] for name in truths},
        confusion=table,
        # A floor withholds answers; it does not make confidences wrong.
        calibration=calibration(confidence, strongest == right),
        evasive={
            name: float((answered == name).mean())
            for name in (*EVASIVE, uncertain)
            if name in labels or (name == uncertain and floor)
        },
        without=_without(right, matrix, labels, floor, uncertain),
        by_group=() if groups is None else _by_group(right, answered, groups),
        by_length=() if seconds is None else _by_length(right, answered, seconds),
    )


def calibration(confidence: npt.ArrayLike, right: npt.ArrayLike, bins: int = BINS) -> Calibration:
    """Compares confidences, float [n], with whether the answers are right, bool [n]."""
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    # The first interval includes 0, all include their upper end.
    place = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    files = np.bincount(place, minlength=bins)
    used = files > 0
    mean = np.bincount(place, confidences, bins)[used] / files[used]
    accuracy = np.bincount(place, hits, bins)[used] / files[used]
    error = float(np.sum(files[used] * np.abs(mean - accuracy)) / len(hits))
    return Calibration(error, mean, accuracy, files[used].astype(np.int64))


def uar(truth: Names, answered: Names) -> float:
    """Unweighted average recall of the labels in the truth, by scikit-learn."""
    recall_score = import_extra("sklearn.metrics").recall_score
    return float(recall_score(truth, answered, labels=np.unique(truth), average="macro"))


def accuracy(truth: Names, answered: Names) -> float:
    """Share of right answers, by audmetric."""
    return float(import_extra("audmetric").accuracy(truth, answered))


MEASURES = ("uar", "wa", "macro_f1", "micro_f1")
"""The measures with a confidence interval."""


def _measure(truth: Names, answered: Names) -> dict[str, float]:
    """`MEASURES` over the labels in the truth, by scikit-learn."""
    score = import_extra("sklearn.metrics").precision_recall_fscore_support
    labels = np.unique(truth)
    options = {"labels": labels, "zero_division": 0}
    _, recalls, f1, _ = score(truth, answered, average=None, **options)
    _, _, micro, _ = score(truth, answered, average="micro", **options)
    values = (recalls.mean(), accuracy(truth, answered), f1.mean(), micro)
    return dict(zip(MEASURES, map(float, values)))


def _figures(truth: Names, answered: Names, seed: int) -> dict[str, Figure]:
    """The measures with their intervals."""
    # Numbers are compared faster than names.
    _, numbers = np.unique(np.concatenate([truth, answered]), return_inverse=True)
    left, right = np.split(numbers, 2)
    rng = np.random.default_rng(seed)
    picks = (rng.integers(0, len(left), len(left)) for _ in range(RESAMPLES))
    samples = [_measure(left[pick], right[pick]) for pick in picks]
    figures = {}
    for name, value in _measure(left, right).items():
        low, high = np.percentile([sample[name] for sample in samples], [2.5, 97.5])
        figures[name] = Figure(value, float(low), float(high))
    return figures


def _decide(
    matrix: DoubleArray, labels: Sequence[str], floor: float, uncertain: str
) -> tuple[Names, Names, DoubleArray]:
    """The answers, the strongest labels whatever the floor, and their probabilities."""
    confidence = matrix.max(axis=1)
    strongest = np.array(labels, dtype=np.str_)[matrix.argmax(axis=1)]
    wide = np.array([*strongest, uncertain], dtype=np.str_)[:-1]
    wide[confidence < floor] = uncertain
    return wide, strongest, confidence


def _without(
    truth: Names, matrix: DoubleArray, labels: Sequence[str], floor: float, uncertain: str
) -> Part | None:
    kept = [place for place, label in enumerate(labels) if label not in EVASIVE]
    rows = ~np.isin(truth, EVASIVE)
    if len(kept) in (0, len(labels)) or not rows.any():
        return None
    left = matrix[rows][:, kept]
    left = left / np.maximum(left.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    answered, _, _ = _decide(left, [labels[place] for place in kept], floor, uncertain)
    return _part("", truth[rows], answered)


def _by_group(truth: Names, answered: Names, groups: Sequence[str]) -> tuple[Part, ...]:
    return _parts(truth, answered, np.array(groups, dtype=np.str_), sorted(set(groups)))


def _by_length(truth: Names, answered: Names, seconds: Sequence[float]) -> tuple[Part, ...]:
    order = [f"under {LENGTHS[0]:g} s"]
    order += [f"{low:g} to {high:g} s" for low, high in zip(LENGTHS, LENGTHS[1:])]
    order += [f"{LENGTHS[-1]:g} s and more"]
    place = np.searchsorted(LENGTHS, seconds, side="right")
    return _parts(truth, answered, np.array(order, dtype=np.str_)[place], order)


def _parts(truth: Names, answered: Names, names: Names, order: Sequence[str]) -> tuple[Part, ...]:
    chosen = ((name, names == name) for name in order)
    return tuple(_part(name, truth[rows], answered[rows]) for name, rows in chosen if rows.any())


def _part(name: str, truth: Names, answered: Names) -> Part:
    return Part(name, len(truth), uar(truth, answered), accuracy(truth, answered))
