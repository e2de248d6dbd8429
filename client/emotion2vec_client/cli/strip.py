"""A timeline in the terminal: a coloured strip, and what it sums up to."""

from __future__ import annotations

from emotion2vec_client.analysis.plots import EMOTION_COLOURS
from emotion2vec_client.cli.display import RANDOM_WARNING, percent
from emotion2vec_client.labels import LABELS
from emotion2vec_client.timeline import Timeline

MARKS = dict(zip((label.name for label in LABELS), "adfhnos!?"))
"""What stands for an emotion where there are no colours."""

MOST_TURNS = 12
"""Turning points that are listed: of more the file with the result tells."""


def show(timeline: Timeline) -> None:
    """Prints a timeline on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    coloured = console.color_system is not None
    strip, marks = Text(), emotions(timeline, console.width)
    for name in marks:
        mark = " " if name is None else "█" if coloured else MARKS[name]
        strip.append(mark, style=EMOTION_COLOURS[name] if name else "")
    console.print(strip)
    ends = [clock(0), clock(timeline.duration)]
    console.print(ends[0] + ends[1].rjust(console.width - len(ends[0])))
    console.print(
        f"\n{percent(timeline.speech_ratio)} of {clock(timeline.duration)} is speech, "
        f"in {len(timeline.segments)} segments.\n"
    )
    summary = timeline.summary
    if summary is not None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for label in sorted(LABELS, key=lambda label: -summary.scores[label.name]):
            mark = "█" if coloured else MARKS[label.name]
            table.add_row(
                Text(mark, style=EMOTION_COLOURS[label.name]),
                Text(f"{label.emoji} {label.chinese} {label.name}"),
                Text(percent(summary.scores[label.name]), justify="right"),
            )
        console.print(table)
        console.print()
        for point in summary.turning_points[:MOST_TURNS]:
            console.print(f"{clock(point.time):>7}  {point.before} → {point.after}")
        more = len(summary.turning_points) - MOST_TURNS
        if more > 0:
            console.print(f"and {more} more turning points")
        if summary.negative is not None:
            start, end = summary.negative.start, summary.negative.end
            console.print(f"longest negative stretch: {clock(start)} to {clock(end)}")
    if timeline.weights == "random":
        console.print(Text(RANDOM_WARNING, style="bold red"))


def emotions(timeline: Timeline, columns: int) -> list[str | None]:
    """The emotion that takes most of each of so many equal parts, None where there is none."""
    width = timeline.duration / columns
    taken: list[dict[str, float]] = [{} for _ in range(columns)]
    for segment, end in zip(timeline.segments, timeline.visible_ends()):
        first, last = int(segment.start / width), min(int(end / width), columns - 1)
        for column in range(first, last + 1):
            inside = min(end, (column + 1) * width) - max(segment.start, column * width)
            if inside > 0:
                taken[column][segment.emotion] = taken[column].get(segment.emotion, 0.0) + inside
    return [max(each, key=lambda name: each[name]) if each else None for each in taken]


def clock(seconds: float) -> str:
    """A time as people read it: ``4:05``, or ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
