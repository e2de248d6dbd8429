"""A timeline as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion2vec_client._summary import Segment, Summary
from emotion2vec_client._weights import CAUTIONS
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.labels import LABELS

if TYPE_CHECKING:
    from emotion2vec_client._timeline import Timeline

CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "SimHei",
)


def write_png(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Writes a picture, 2100 pixels wide, with the stacked scores of all segments.

    Each speaker gets a row of its own, if speakers were told apart.

    Args:
        path: File to write.
        timeline: What to draw.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    rows: list[tuple[str | None, Summary | None]] = [
        (speaker.name, speaker.summary) for speaker in timeline.speakers
    ] or [(None, timeline.summary)]
    pieces = list(zip(timeline.segments, timeline.visible_ends()))
    # Not pyplot, which would keep the figure and may need a display.
    figure = import_extra("matplotlib.figure").Figure(
        figsize=(14, 1 + (4 if len(rows) == 1 else 2.5 * len(rows))), layout="constrained"
    )
    all_axes = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    clock = import_extra("matplotlib.ticker").FuncFormatter(_clock)
    for axes, (name, summary) in zip(all_axes, rows):
        borders, heights = _steps([each for each in pieces if each[0].speaker == name])
        axes.stackplot(
            borders, heights, step="post", colors=[label.colour for label in LABELS],
            labels=[label.name for label in LABELS], linewidth=0,
        )  # fmt: skip
        if summary is not None:
            for point in summary.turning_points:
                axes.axvline(point.time, color="black", linewidth=1, linestyle=":")
        axes.xaxis.set_major_formatter(clock)
        # A name is no formula, and may be Chinese.
        axes.set_title(_title(name, summary), parse_math=False, fontfamily=_families())
        axes.set(
            xlim=(0, timeline.duration or 1), ylim=(0, 1),
            ylabel="score",
        )  # fmt: skip
    all_axes[-1].set_xlabel("time; no colour: no speech; dotted: turning points")
    if timeline.weights in CAUTIONS:
        figure.suptitle(CAUTIONS[timeline.weights])
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, reverse=True)
    figure.savefig(path, format="png", dpi=150)


def _steps(pieces: Sequence[tuple[Segment, float]]) -> tuple[Any, Any]:
    """Times at which scores change, float64 [2 n + 1], and the new scores, float64 [9, 2 n + 1]."""
    borders, heights = [0.0], [[0.0] * len(LABELS)]
    for segment, end in pieces:
        borders += [segment.start, end]
        heights += [[segment.scores[label.name] for label in LABELS], [0.0] * len(LABELS)]
    return np.array(borders), np.array(heights).T


def _families() -> list[str]:
    """The usual font, and one with Chinese characters if there is one."""
    manager = import_extra("matplotlib.font_manager").fontManager
    installed = {font.name for font in manager.ttflist}
    return ["DejaVu Sans", *[name for name in CHINESE_FONTS if name in installed][:1]]


def _title(name: str | None, summary: Summary | None) -> str:
    who = "" if name is None else f"{name}: "
    if summary is None:
        return f"{who}no speech"
    return f"{who}{summary.emotion} {100 * summary.confidence:.1f} %"


def _clock(seconds: float, _: object) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
