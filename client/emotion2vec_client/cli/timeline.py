"""``emotion2vec timeline``: the course of emotion through long recordings."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Callable, Optional

import typer

from emotion2vec_client.cli import display
from emotion2vec_client.cli.common import ConcurrencyOption, say_written
from emotion2vec_client.cli.connection import Connection, connects, warn_if_random
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption
from emotion2vec_client.cli.output import (
    SUFFIX_FORMATS,
    EmbeddingOption,
    Format,
    FormatOption,
    OverwriteOption,
    ResumeOption,
    check_folder,
    check_replaced,
    choose_format,
)
from emotion2vec_client.cli.rows import TimelineShape, timeline_content
from emotion2vec_client.cli.strip import show
from emotion2vec_client.cli.timeline_work import TimelineWork
from emotion2vec_client.cli.work import show_table, write_rows
from emotion2vec_client.client import Client
from emotion2vec_client.timeline import FORMATS, Timeline, check_format

AT_ONCE = 2
"""Recordings that a server works on at once; more of them wait there."""


@connects
def timeline(
    files: FilesArgument,
    output: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--output",
            "-o",
            help=f"Of one recording: name{', name'.join(FORMATS)}; may be given several times. Of "
            "several: one file of rows, name.jsonl, name.csv or name.parquet.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        Optional[float],
        typer.Option(
            help="Cut windows of so many seconds, up to 30, instead of speech at its pauses.",
            show_default=False,
        ),
    ] = None,
    hop: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds from one window's start to the next one's; by default the window.",
            show_default=False,
        ),
    ] = None,
    min_segment: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds under which speech joins its neighbour; 1 by default.",
            show_default=False,
        ),
    ] = None,
    max_segment: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds of the longest piece of speech, up to 30; 10 by default.",
            show_default=False,
        ),
    ] = None,
    embedding: EmbeddingOption = False,
    format_: FormatOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    concurrency: ConcurrencyOption = AT_ONCE,
    null: NullOption = False,
    json_: Annotated[
        bool, typer.Option("--json", help="For one recording: the result as indented JSON.")
    ] = False,
    *,
    connection: Connection,
) -> int:
    """Recognise the course of emotion through recordings of up to two hours.

    Speech is cut at its pauses into pieces of 1 to 10 s. Each column of the
    strip is a part of the recording, in the colour of its emotion; the scores
    are means over all speech. SRT and VTT are subtitles for a player.

    Rows of several recordings: in JSONL one for each, in CSV and Parquet one
    for each piece. A recording that fails is a row with the reason.

    Example: emotion2vec timeline call.mp3 -o call.json -o call.srt -o call.png
    """
    if hop is not None and window is None:
        raise typer.BadParameter("--hop is for windows: add --window")
    if window is not None and (min_segment is not None or max_segment is not None):
        raise typer.BadParameter(
            "windows are all of one length: leave out --min- and --max-segment"
        )
    chosen, outputs = Files(files, null), output or []
    shape = TimelineShape(embedding=embedding, segmentation="vad" if window is None else "fixed")
    options = {
        "segmentation": shape.segmentation,
        "min_segment": min_segment,
        "max_segment": max_segment,
        "window": window,
        "hop": hop,
        "embedding": embedding,
    }
    alone = chosen.is_one_name and _is_for_one(outputs, format_, resume, embedding)
    if json_ and (not alone or format_ is not None):
        raise typer.BadParameter("--json is for one recording: use --format jsonl for rows")
    rows = Format.table
    if alone:
        for path in outputs:
            _check_output(path, overwrite)
    else:
        rows = choose_format(format_, _only(outputs), resume, overwrite)
    shown = json_ or any(path.suffix.lower() == ".json" for path in outputs)
    if embedding and rows is Format.table and not shown:
        raise typer.BadParameter(
            "embeddings do not fit a terminal: add -o timelines.jsonl, or --format jsonl"
        )
    with connection.open() as client:
        warn_if_random(client)
        if alone:
            return _show_one(client, next(iter(chosen)), outputs, options, json_)
        dimension = int(client.model_info().card["embed_dim"]) if embedding else 0
        shape = TimelineShape(embedding, dimension, shape.segmentation)
        work = TimelineWork(client, shape, concurrency, options)
        if rows is Format.table:
            return show_table(work, chosen)
        shown = bool(outputs) or not sys.stdout.isatty()
        return write_rows(work, chosen, rows, _only(outputs), resume, shown)


def _is_for_one(
    outputs: list[Path], format_: Optional[Format], resume: bool, embedding: bool
) -> bool:
    """Whether the options ask for the timeline of one recording as such, and not for rows."""
    suffixes = [path.suffix.lower() for path in outputs]
    # CSV of one recording has no columns for embeddings.
    rows = [suffix in SUFFIX_FORMATS and (suffix != ".csv" or embedding) for suffix in suffixes]
    return format_ in (None, Format.table) and not resume and not any(rows)


def _only(outputs: list[Path]) -> Optional[Path]:
    """The file for rows, None for stdout."""
    for path in outputs:
        if len(outputs) > 1 or path.suffix.lower() in set(FORMATS) - set(SUFFIX_FORMATS):
            raise typer.BadParameter(
                f"{path} is for a single recording: rows go into one file that ends in .jsonl, "
                ".csv or .parquet"
            )
    return outputs[0] if outputs else None


def _check_output(path: Path, overwrite: bool) -> None:
    """Refuses what cannot be written before the file is sent."""
    try:
        suffix = check_format(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    check_folder(path)
    if suffix in SUFFIX_FORMATS:
        # It may hold the rows of many recordings.
        check_replaced(path, SUFFIX_FORMATS[suffix], overwrite)
    if suffix == ".png":
        from emotion2vec_client.analysis.arrays import import_extra

        import_extra("matplotlib")


def _show_one(
    client: Client, path: Path, outputs: list[Path], options: dict[str, Any], as_json: bool
) -> int:
    with _progress() as progress:
        found = client.timeline(path, progress=progress, **options)
    for each in outputs:
        _save(found, each, options["embedding"])
    display.survive_odd_terminals()
    if as_json:
        content = timeline_content(found, options["embedding"])
        print(json.dumps(content, ensure_ascii=False, indent=2))
    else:
        show(found)
    if outputs:
        say_written(", ".join(map(str, outputs)))
    return 0


def _save(found: Timeline, path: Path, embedding: bool) -> None:
    if embedding and path.suffix.lower() == ".json":
        text = json.dumps(timeline_content(found, embedding), ensure_ascii=False, indent=2)
        path.write_text(text + "\n", encoding="utf-8")
    else:
        found.save(path)


@contextmanager
def _progress() -> Iterator[Optional[Callable[[float], None]]]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Its default columns are bar, share and time left.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listening", total=1.0)
        yield lambda share: bar.update(task, completed=share)
