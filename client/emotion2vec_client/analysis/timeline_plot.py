"""A timeline as a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.labels import LABELS

if TYPE_CHECKING:
    from emotion2vec_client.timeline import Timeline

RANDOM_WEIGHTS = "RANDOM WEIGHTS: these scores mean nothing"


def write_png(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Writes a picture of 2100 by 750 pixels: the scores of all segments, one above the other.

    Args:
        path: File to write.
        timeline: What to show.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    # A figure of its own, since pyplot would keep it and may ask for a screen.
    figure = import_extra("matplotlib.figure").Figure(figsize=(14, 5), layout="constrained")
    axes = figure.add_subplot()
    borders, heights = _steps(timeline)
    axes.stackplot(
        borders, heights, step="post", colors=[label.colour for label in LABELS],
        labels=[label.name for label in LABELS], linewidth=0,
    )  # fmt: skip
    if timeline.summary is not None:
        for point in timeline.summary.turning_points:
            axes.axvline(point.time, color="black", linewidth=1, linestyle=":")
    clock = import_extra("matplotlib.ticker").FuncFormatter(_clock)
    axes.xaxis.set_major_formatter(clock)
    axes.set(
        title=_title(timeline), xlim=(0, timeline.duration or 1), ylim=(0, 1), ylabel="score",
        xlabel="time; no colour: no speech; dotted: turning points",
    )  # fmt: skip
    figure.legend(loc="outside right center", frameon=False, reverse=True)
    figure.savefig(path, format="png", dpi=150)


def _steps(timeline: Timeline) -> tuple[Any, Any]:
    """Where scores change, float64 [2 n + 1], and to what, float64 [9, 2 n + 1]."""
    borders, heights = [0.0], [[0.0] * len(LABELS)]
    for segment, end in zip(timeline.segments, timeline.visible_ends()):
        borders += [segment.start, end]
        heights += [[segment.scores[label.name] for label in LABELS], [0.0] * len(LABELS)]
    return np.array(borders), np.array(heights).T


def _title(timeline: Timeline) -> str:
    summary = timeline.summary
    if summary is None:
        return "no speech"
    title = f"{summary.emotion} {100 * summary.confidence:.1f} %"
    return f"{title} — {RANDOM_WEIGHTS}" if timeline.weights == "random" else title


def _clock(seconds: float, _: object) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
