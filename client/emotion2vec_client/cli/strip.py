"""Emotion over time in the terminal: a coloured strip, and a timeline's summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from emotion2vec_client._result import FRAME_HOP, Prediction
from emotion2vec_client._summary import Stretch
from emotion2vec_client._timeline import Timeline
from emotion2vec_client.cli.display import counted, percent
from emotion2vec_client.labels import COLOURS, LABELS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MARKS = dict(zip((label.name for label in LABELS), "adfhnos!?"))
"""Letters for emotions if the terminal has no colours."""

MOST_TURNS = 12
"""Listed turning points; a result file has all of them."""

Span = tuple[float, float, str]


def show(timeline: Timeline) -> None:
    """Prints a timeline on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    coloured = has_colours(console)
    if timeline.speakers:
        _print_speakers(timeline, console)
    else:
        print_course(timeline, console)
    console.print(
        f"\n{percent(timeline.speech_ratio)} of {clock(timeline.duration)} is speech, "
        f"in {counted(len(timeline.segments), 'segment')}.\n"
    )
    summary = timeline.summary
    if summary is not None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for label in sorted(LABELS, key=lambda label: -summary.scores[label.name]):
            table.add_row(
                colours([label.name], coloured),
                Text(f"{label.emoji} {label.chinese} {label.name}"),
                Text(percent(summary.scores[label.name]), justify="right"),
            )
        console.print(table)
        for judge, made in summary.decisions.named().items():
            answer = f"{judge}: {made.label} {percent(made.confidence)}"
            console.print(answer, markup=False)
        console.print()
        turns = list(_turns(timeline))
        for turn in turns[:MOST_TURNS]:
            console.print(turn, markup=False)
        more = len(turns) - MOST_TURNS
        if more > 0:
            console.print(f"and {more:,} more turning {'point' if more == 1 else 'points'}")
        if summary.negative is not None and not timeline.speakers:
            console.print(f"longest negative stretch: {_span(summary.negative)}")


def _turns(timeline: Timeline) -> Iterator[str]:
    """A line per turning point; with several speakers each turns alone."""
    summaries = [(f"{each.name}: ", each.summary) for each in timeline.speakers]
    found = [
        (point, who)
        for who, summary in summaries or [("", timeline.summary)]
        if summary is not None
        for point in summary.turning_points
    ]
    for point, who in sorted(found, key=lambda each: each[0].time):
        yield f"{clock(point.time):>7}  {who}{point.before} → {point.after}"


def _print_speakers(timeline: Timeline, console: Console) -> None:
    """Prints a strip and the summary of each speaker."""
    for speaker in timeline.speakers:
        own = [segment for segment in timeline.segments if segment.speaker == speaker.name]
        told = [f"{clock(speaker.speech)} of speech"]
        if speaker.summary is not None:
            told.append(f"{speaker.summary.emotion} {percent(speaker.summary.confidence)}")
            if speaker.summary.negative is not None:
                told.append(f"longest negative stretch {_span(speaker.summary.negative)}")
        console.print(f"{speaker.name}: {', '.join(told)}", markup=False)
        parts = [(segment.start, segment.end, segment.emotion) for segment in own]
        names = strongest(parts, timeline.duration, console.width)
        console.print(colours(names, has_colours(console)))
    _print_ends(timeline, console)
    conversation = timeline.conversation
    assert conversation is not None
    if conversation.first_to_turn is not None:
        turn = conversation.first_to_turn
        console.print(
            f"\nfirst to turn: {turn.speaker}, {clock(turn.time)}, {turn.before} → {turn.after}",
            markup=False,
        )
    if conversation.overlap is not None:
        console.print(f"two speak at once for {clock(conversation.overlap)}")


def _span(stretch: Stretch) -> str:
    return f"{clock(stretch.start)} to {clock(stretch.end)}"


def show_course(prediction: Prediction) -> None:
    """Prints the course of a prediction in frame granularity, with a legend."""
    from rich.console import Console

    console = Console(highlight=False)
    print_course(prediction, console)
    seen = {name for _, _, name in spans(prediction)}
    for label in LABELS:
        if label.name in seen:
            console.print(colours([label.name], has_colours(console)), label.name, end="  ")
    console.print()


def print_course(answer: Prediction | Timeline, console: Console) -> None:
    """Prints a strip as wide as the terminal, with start and end times below."""
    names = strongest(spans(answer), answer.duration, console.width)
    console.print(colours(names, has_colours(console)))
    _print_ends(answer, console)


def _print_ends(answer: Prediction | Timeline, console: Console) -> None:
    ends = [clock(0), clock(answer.duration)]
    console.print(ends[0] + ends[1].rjust(console.width - len(ends[0])))


def has_colours(console: Console) -> bool:
    """Whether a console shows colours, so that no marks are needed."""
    return console.color_system is not None


def colours(names: Sequence[str | None], coloured: bool) -> Text:
    """A column for each emotion in its colour, or its mark; None is left empty."""
    from rich.text import Text

    strip = Text()
    for name in names:
        mark = " " if name is None else "█" if coloured else MARKS[name]
        strip.append(mark, style=COLOURS[name] if name else "")
    return strip


def spans(answer: Prediction | Timeline) -> Iterator[Span]:
    """Start, end and strongest emotion of each segment or frame."""
    if isinstance(answer, Timeline):
        for segment, end in zip(answer.segments, answer.visible_ends()):
            yield segment.start, end, segment.emotion
    elif answer.frames is not None:
        for start, best in zip(answer.frames.times, answer.frames.scores.argmax(axis=1)):
            yield float(start), float(start) + FRAME_HOP, LABELS[best].name


def strongest(parts: Iterable[Span], duration: float, columns: int) -> list[str | None]:
    """The longest-lasting emotion in each of ``columns`` equal parts, None where there is none."""
    width = duration / columns
    taken: list[dict[str, float]] = [{} for _ in range(columns)]
    for start, end, emotion in parts:
        first, last = int(start / width), min(int(end / width), columns - 1)
        for column in range(first, last + 1):
            inside = min(end, (column + 1) * width) - max(start, column * width)
            if inside > 0:
                taken[column][emotion] = taken[column].get(emotion, 0.0) + inside
    return [max(each, key=lambda name: each[name]) if each else None for each in taken]


def clock(seconds: float) -> str:
    """Formats seconds as ``4:05`` or ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
