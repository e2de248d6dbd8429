"""Many files as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emotion2vec_client._decision import Decision
from emotion2vec_client._result import Prediction
from emotion2vec_client._timeline import Timeline
from emotion2vec_client.cli.display import TABLE_BAR_WIDTH, bar, percent
from emotion2vec_client.cli.rows import Answer, Row
from emotion2vec_client.cli.strip import clock, colours, has_colours, spans, strongest

COURSE_WIDTH = 24


def print_table(rows: Iterable[Row]) -> None:
    """Prints one line per file on stdout.

    Args:
        rows: Results and failures.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("emotion", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    with_course = any(row.answer is not None and _has_course(row.answer) for row in rows)
    if with_course:
        table.add_column("course", no_wrap=True, min_width=COURSE_WIDTH)
        table.add_column("length", justify="right", no_wrap=True)
    judges = list(dict.fromkeys(name for row in rows for name in _decisions(row)))
    for name in judges:
        table.add_column(name, overflow="fold")
    for row in rows:
        # Text, because rich would read square brackets in a str as markup.
        cells = [Text(row.printable_file)]
        if row.answer is None:
            cells += [Text("✗ failed", style="red"), Text(), Text(row.reason, style="red")]
        else:
            cells += _emotion(row.answer)
            if with_course:
                names = strongest(spans(row.answer), row.answer.duration, COURSE_WIDTH)
                cells += [colours(names, has_colours(console)), Text(clock(row.answer.duration))]
            made = _decisions(row)
            cells += [_decision(made[name]) if name in made else Text() for name in judges]
        table.add_row(*cells)
    console.print(table)


def _has_course(answer: Answer) -> bool:
    return isinstance(answer, Timeline) or answer.frames is not None


def _decisions(row: Row) -> Mapping[str, Decision]:
    whole = row.answer.summary if isinstance(row.answer, Timeline) else row.answer
    return {} if whole is None else whole.decisions.named()


def _decision(made: Decision) -> Any:
    from rich.text import Text

    return Text(f"{made.label} {percent(made.confidence)}")


def _emotion(answer: Answer) -> list[Any]:
    from rich.text import Text

    whole = answer if isinstance(answer, Prediction) else answer.summary
    if whole is None:
        return [Text("no speech", style="dim"), Text(), Text()]
    label = whole.label
    return [
        Text(f"{label.emoji} {label.chinese} {label.name}"),
        Text(percent(whole.confidence)),
        Text(bar(whole.confidence, TABLE_BAR_WIDTH), style="cyan"),
    ]
