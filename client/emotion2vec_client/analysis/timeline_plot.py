"""A timeline as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec_client._summary import Segment, Summary
from emotion2vec_client._weights import CAUTIONS
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.labels import LABELS


def write_png(
    path: str | os.PathLike[str],
    pieces: Sequence[tuple[Segment, float]],
    summary: Summary | None,
    duration: float,
    weights: str,
) -> None:
    """Writes a picture of 2100 by 750 pixels with the stacked scores of all segments.

    Args:
        path: File to write.
        pieces: The segments with their visible ends.
        summary: Of the recording.
        duration: Of the recording, in seconds.
        weights: The kind of the model's weights; a caution about them goes into the title.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    # Not pyplot, which would keep the figure and may need a display.
    figure = import_extra("matplotlib.figure").Figure(figsize=(14, 5), layout="constrained")
    axes = figure.add_subplot()
    borders, heights = _steps(pieces)
    axes.stackplot(
        borders, heights, step="post", colors=[label.colour for label in LABELS],
        labels=[label.name for label in LABELS], linewidth=0,
    )  # fmt: skip
    if summary is not None:
        for point in summary.turning_points:
            axes.axvline(point.time, color="black", linewidth=1, linestyle=":")
    clock = import_extra("matplotlib.ticker").FuncFormatter(_clock)
    axes.xaxis.set_major_formatter(clock)
    axes.set(
        title=_title(summary, weights), xlim=(0, duration or 1), ylim=(0, 1), ylabel="score",
        xlabel="time; no colour: no speech; dotted: turning points",
    )  # fmt: skip
    figure.legend(loc="outside right center", frameon=False, reverse=True)
    figure.savefig(path, format="png", dpi=150)


def _steps(pieces: Sequence[tuple[Segment, float]]) -> tuple[Any, Any]:
    """Times at which scores change, float64 [2 n + 1], and the new scores, float64 [9, 2 n + 1]."""
    borders, heights = [0.0], [[0.0] * len(LABELS)]
    for segment, end in pieces:
        borders += [segment.start, end]
        heights += [[segment.scores[label.name] for label in LABELS], [0.0] * len(LABELS)]
    return np.array(borders), np.array(heights).T


def _title(summary: Summary | None, weights: str) -> str:
    if summary is None:
        return "no speech"
    title = f"{summary.emotion} {100 * summary.confidence:.1f} %"
    return f"{title} — {CAUTIONS[weights]}" if weights in CAUTIONS else title


def _clock(seconds: float, _: object) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
