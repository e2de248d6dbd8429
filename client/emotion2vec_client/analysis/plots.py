"""Writes maps as a self-contained HTML page or a PNG."""

from __future__ import annotations

import colorsys
import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from emotion2vec_client.analysis.arrays import DoubleArray, import_extra
from emotion2vec_client.labels import COLOURS

UNLABELLED = "(no label)"
UNLABELLED_COLOUR = "#4d4d4d"

WIDTH = 1000
MARGIN = 40
MOST_NAMED = 12
"""Up to this many points, the PNG shows their names."""

MOST_IN_COLUMN = 30
"""A longer column of the legend would not fit the PNG."""

WIDE_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Micro Hei", "SimHei", "PingFang SC")
"""Fonts with Chinese characters; the PNG uses the first one that is installed."""


@dataclass(frozen=True)
class Point:
    """One recording on a map.

    Attributes:
        name: The file's name, as shown.
        emotion: Strongest emotion.
        confidence: Score of that emotion, 0 to 1.
        label: The user's own label, which decides the colour; None colours by emotion.
    """

    name: str
    emotion: str
    confidence: float
    label: str | None = None

    @property
    def category(self) -> str:
        """The label or emotion that decides the point's colour."""
        return self.emotion if self.label is None else self.label


def colours(categories: Sequence[str]) -> dict[str, str]:
    """Colours for categories, in the order of the legend; emotions have fixed colours.

    Returns:
        ``#rrggbb`` by category; emotions first, in the server's order, then the others by name.
    """
    present = set(categories)
    others = sorted(present - COLOURS.keys() - {UNLABELLED})
    legend = {name: colour for name, colour in COLOURS.items() if name in present}
    for index, name in enumerate(others):
        # Equal steps of hue, alternately lighter and darker, distinguish many labels.
        red, green, blue = colorsys.hls_to_rgb(
            index / len(others) + 0.58, 0.42 if index % 2 == 0 else 0.6, 0.68
        )
        legend[name] = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
    if UNLABELLED in present:
        legend[UNLABELLED] = UNLABELLED_COLOUR
    return legend


def write_html(
    path: str | os.PathLike[str],
    places: DoubleArray,
    points: Sequence[Point],
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Writes a page that shows file, emotion and confidence on hover, and loads nothing.

    Args:
        path: File to write.
        places: float64 [n, 2], from ``project``.
        points: The n recordings.
        title: Heading of the page.
        notes: Sentences under it; one that starts with ``⚠`` is shown as a warning.

    Raises:
        OSError: The file cannot be written.
    """
    legend = colours([point.category for point in points])
    counts = Counter(point.category for point in points)
    number = {name: index for index, name in enumerate(legend)}
    radius = 4.5 if len(points) > 1000 else 7
    fitted, height = _fit_to_page(places)
    circles = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{legend[point.category]}" '
        f'data-c="{number[point.category]}"></circle>'
        for (x, y), point in zip(fitted, points)
    )
    buttons = (
        f'<button type="button" data-c="{number[name]}" aria-pressed="true">'
        f'<i style="background:{colour}"></i>{escape(name)} ({counts[name]})</button>'
        for name, colour in legend.items()
    )
    paragraphs = (
        f'<p class="warning">{escape(note)}</p>' if note[:1] == "⚠" else f"<p>{escape(note)}</p>"
        for note in notes
    )
    template = (resources.files(__package__) / "map_template.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        title=escape(title),
        notes="\n".join(paragraphs),
        width=WIDTH,
        height=round(height),
        radius=radius,
        circles="\n".join(circles),
        legend="\n".join(buttons),
        # A file name may contain "</script>", which would end the script.
        points=json.dumps([_tip(point) for point in points]).replace("<", "\\u003c"),
    )
    Path(path).write_text(page, encoding="utf-8")


def write_png(
    path: str | os.PathLike[str],
    places: DoubleArray,
    points: Sequence[Point],
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Writes a picture of 1500 by 1050 pixels, with file names if there are few points.

    Args:
        path: File to write.
        places: float64 [n, 2], from ``project``.
        points: The n recordings.
        title: Heading of the picture.
        notes: Sentences under it.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    matplotlib = import_extra("matplotlib")
    installed = {font.name for font in import_extra("matplotlib.font_manager").fontManager.ttflist}
    family = ["DejaVu Sans", *[name for name in WIDE_FONTS if name in installed][:1]]
    categories = np.array([point.category for point in points])
    legend = colours(categories.tolist())
    with matplotlib.rc_context({"font.family": family, "text.parse_math": False}):
        # Not pyplot, which would keep the figure and may need a display.
        figure = import_extra("matplotlib.figure").Figure(figsize=(10, 7), layout="constrained")
        axes = figure.add_subplot()
        for name, colour in legend.items():
            x, y = places[categories == name].T
            axes.scatter(
                x, y, s=42, color=colour, alpha=0.85, linewidths=0.5, edgecolors="white",
                label=f"{name} ({len(x)})",
            )  # fmt: skip
        if len(points) <= MOST_NAMED:
            for place, point in zip(places, points):
                axes.annotate(
                    Path(point.name).name, place, xytext=(5, 4), textcoords="offset points",
                    fontsize=7, color="#555555",
                )  # fmt: skip
        # The axes have no unit or direction.
        axes.set(title=title, xticks=[], yticks=[])
        axes.set_xlabel("\n".join(notes), fontsize=8, color="#555555")
        # Leave room for the names to the right of their points.
        axes.margins(x=0.14 if len(points) <= MOST_NAMED else 0.06, y=0.06)
        columns = -(-len(legend) // MOST_IN_COLUMN)
        size = 10 if columns == 1 else 6
        figure.legend(loc="outside right upper", frameon=False, ncols=columns, fontsize=size)
        with warnings.catch_warnings():
            # matplotlib draws a box for each character without a font, and warns.
            warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
            figure.savefig(path, format="png", dpi=150)


def _fit_to_page(places: DoubleArray) -> tuple[DoubleArray, float]:
    """Scales places to a page of WIDTH with a margin; also returns the page's height.

    Turns the map so that its longest axis is horizontal: its directions mean nothing anyway.
    """
    centred = places - places.mean(axis=0)
    # In ascending order: the last principal axis is the longest.
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = (WIDTH - 2 * MARGIN) / (float((high - low).max()) or 1.0)
    size = np.maximum((high - low) * scale + 2 * MARGIN, [WIDTH, WIDTH / 3])
    fitted = (turned - (low + high) / 2) * scale + size / 2
    return np.asarray(fitted, dtype=np.float64), float(size[1])


def _tip(point: Point) -> str:
    lines = [point.name, f"{point.emotion}, {100 * point.confidence:.1f} %"]
    return "\n".join([*lines, f"label: {point.label}"] if point.label is not None else lines)
