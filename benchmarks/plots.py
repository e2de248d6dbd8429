"""The plots of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.measurement import Measurement
from benchmarks.plan import MIXED_CLIENTS, Results
from benchmarks.summary import (
    SHORT_SECONDS,
    arrival_rate,
    audio_rate,
    clip_rate,
    encoder_rate,
    latencies,
    percentile,
)

STYLE = {
    "figure.dpi": 130,
    "font.size": 9.5,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
LINES = {0.99: ("#1b2631", "^:"), 0.95: ("#2471a3", "o-"), 0.5: ("#7fb3d5", "o-")}
"""Colour and style of each percentile, in drawing order: later lines cover equal ones."""

DARK, LIGHT = LINES[0.95][0], LINES[0.5][0]
SHORT = "#d35400"
TARGET = "#c0392b"


def _pair() -> tuple[plt.Figure, Axes, Axes]:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    return figure, left, right


def _latency(results: Results, target: float) -> plt.Figure:
    figure, left, right = _pair()
    figure.suptitle("Time to the answer, clips of 1 to 30 s over gRPC")
    counts = list(results.closed)
    _latency_lines(left, range(len(counts)), list(results.closed.values()), target)
    left.set_xticks(range(len(counts)), [str(count) for count in counts])
    left.set_xlabel("clients, each waiting for its answer")
    _latency_lines(right, list(results.opened), list(results.opened.values()), target)
    right.set_xlabel("clips per second, arriving at random")
    right.set_xlim(left=0)
    left.set_ylabel("seconds")
    bottom = 0.8 * min(axes.dataLim.ymin for axes in (left, right))
    top = 1.25 * max(axes.dataLim.ymax for axes in (left, right))
    for axes in (left, right):
        # A log scale keeps the target visible when times are much longer.
        axes.set_yscale("log")
        axes.set_ylim(bottom, top)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    _legend_below(figure, left, columns=5)
    return figure


def _legend_below(figure: plt.Figure, axes: Axes, columns: int) -> None:
    """Where it hides nothing."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)


def _latency_lines(
    axes: Axes, places: Sequence[float], measured: Sequence[Measurement], target: float
) -> None:
    for share, (colour, style) in LINES.items():
        values = [percentile(latencies(each.requests), share) for each in measured]
        axes.plot(places, _drawn(values), style, color=colour, label=f"p{share * 100:.0f}")
    short = [percentile(latencies(each.requests, SHORT_SECONDS), 0.95) for each in measured]
    axes.plot(
        places, _drawn(short), "s--", color=SHORT, label=f"p95 of clips up to {SHORT_SECONDS} s"
    )
    axes.axhline(target, color=TARGET, linewidth=1, label=f"target, {target:g} s")


def _drawn(values: Sequence[float | None]) -> list[float]:
    """The values to plot; a missing value becomes a gap."""
    return [float("nan") if value is None else value for value in values]


def _percentiles(results: Results, target: float) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    axes.set_title("Time to the answer by percentile")
    for each in (*results.target.values(), results.steady):
        waits = sorted(latencies(each.requests))
        ranks = [100 * rank / len(waits) for rank in range(len(waits) + 1)] if waits else []
        label = f"{each.load.name} (n = {len(waits)})"
        axes.step(ranks, [*waits[:1], *waits], where="pre", label=label)
    axes.axhline(target, color=TARGET, linewidth=1, label=f"target, {target:g} s")
    axes.set_xticks([0, 25, 50, 75, 95, 100])
    axes.set_xlim(0, 100.5)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("percentile")
    axes.set_ylabel("seconds")
    _legend_below(figure, axes, columns=2)
    return figure


def _throughput(results: Results, _: float) -> plt.Figure:
    figure, left, right = _pair()
    figure.suptitle("Throughput, clips of 1 to 30 s over gRPC")
    counts = list(results.closed)
    rates = [audio_rate(each) for each in results.closed.values()]
    bars = left.bar(range(len(counts)), rates, color=DARK, width=0.6)
    left.bar_label(bars, fmt="%.1f", label_type="center", color="white")
    bare = encoder_rate(results.closed[1])
    if bare:
        label = f"bare encoder, one clip at a time: {bare:.1f}"
        left.axhline(bare, color="black", linestyle=":", label=label)
        left.legend(loc="upper left")
    left.set_xticks(range(len(counts)), [str(count) for count in counts])
    left.set_ylim(0, 1.25 * max([*rates, bare or 0]))
    left.set_xlabel("clients, each waiting for its answer")
    left.set_ylabel("seconds of audio per second")
    # The rate that really arrived differs by chance from the rate that was asked for.
    arrived = {arrival_rate(each): each for each in results.opened.values()}
    offered = sorted(arrived)
    answered = [clip_rate(arrived[rate]) for rate in offered]
    end = 1.1 * max(*offered, *answered)
    right.plot([0, end], [0, end], color="grey", linestyle=":", label="as many as arrive")
    right.plot(offered, answered, "o-", color=DARK, label="answered")
    right.set_xlim(0, end)
    right.set_ylim(0, end)
    right.set_xlabel("clips per second that arrived")
    right.set_ylabel("clips per second answered")
    right.legend(loc="upper left")
    return figure


def _batches(results: Results, _: float) -> plt.Figure:
    shown = {
        results.closed[MIXED_CLIENTS].load.name: results.closed[MIXED_CLIENTS],
        results.steady.load.name: results.steady,
    }
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.set_title("Clips in a batch for the encoder")
    largest = max(size for each in shown.values() for size in each.models["encoder"].batches)
    sizes = range(1, largest + 1)
    width = 0.8 / len(shown)
    for number, (name, each) in enumerate(shown.items()):
        batches = each.models["encoder"].batches
        executions = sum(batches.values()) or 1
        shares = [100 * batches.get(size, 0) / executions for size in sizes]
        places = [place + (number - (len(shown) - 1) / 2) * width for place in range(len(sizes))]
        bars = axes.bar(places, shares, width, label=name, color=(DARK, LIGHT)[number])
        axes.bar_label(bars, [f"{share:.0f} %" if share else "" for share in shares], padding=2)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.margins(y=0.12)
    axes.set_xlabel("clips in a batch")
    axes.set_ylabel("% of batches")
    _legend_below(figure, axes, columns=2)
    return figure


PLOTS: dict[str, Callable[[Results, float], plt.Figure]] = {
    "latency": _latency,
    "percentiles": _percentiles,
    "throughput": _throughput,
    "batches": _batches,
}
"""The plots by name; each takes the results and the target in seconds, and becomes NAME.png."""


def draw(results: Results, target: float, folder: Path) -> None:
    """Writes all plots into a folder, as PNG."""
    with plt.rc_context(STYLE):
        for name, plot in PLOTS.items():
            figure = plot(results, target)
            figure.savefig(folder / f"{name}.png", bbox_inches="tight")
            plt.close(figure)
