"""The command ``emotion2vec timeline``."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Callable, Optional

import typer

from emotion2vec_client._speakers import Channels, Speakers, are_told_apart
from emotion2vec_client._timeline import FORMATS, Segmentation
from emotion2vec_client._timeline_call import check_timeline_options
from emotion2vec_client.cli import display, judging
from emotion2vec_client.cli.common import ConcurrencyOption, flag, say_written
from emotion2vec_client.cli.connection import Connection, connects, warn_of_weights
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption
from emotion2vec_client.cli.judging import HeadsOption, PolicyOption
from emotion2vec_client.cli.naming import NamesOption, SeparateOption, split_names
from emotion2vec_client.cli.output import (
    SUFFIX_FORMATS,
    EmbeddingOption,
    Format,
    FormatOption,
    OverwriteOption,
    ResumeOption,
    check_output,
    check_replaced,
    choose_format,
)
from emotion2vec_client.cli.rows import Row, TimelineShape
from emotion2vec_client.cli.strip import show
from emotion2vec_client.cli.timeline_work import TimelineWork
from emotion2vec_client.cli.work import show_table, write_rows
from emotion2vec_client.cli.writers import open_writer

AT_ONCE = 2
"""Recordings that a server processes at once; it queues the others."""


@connects
def timeline(
    files: FilesArgument,
    output: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--output",
            "-o",
            help=f"Output file. For one recording: name{', name'.join(FORMATS)}; can be repeated. "
            "For several: one file of rows, name.jsonl, name.csv or name.parquet.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        Optional[float],
        typer.Option(
            help="Cut windows of this many seconds, at most 30, instead of cutting at pauses.",
            show_default=False,
        ),
    ] = None,
    hop: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds between the starts of two windows; by default the window.",
            show_default=False,
        ),
    ] = None,
    min_segment: Annotated[
        Optional[float],
        typer.Option(
            help="Shorter pieces of speech, in seconds, join the next; 1 by default.",
            show_default=False,
        ),
    ] = None,
    max_segment: Annotated[
        Optional[float],
        typer.Option(
            help="Longest piece of speech in seconds, at most 30; 10 by default.",
            show_default=False,
        ),
    ] = None,
    separate: SeparateOption = False,
    speakers: Annotated[
        str,
        typer.Option(
            help="Tell this many voices apart, up to 8, or 'auto'.",
            metavar="NUMBER",
            show_default=False,
        ),
    ] = "1",
    names: NamesOption = None,
    embedding: EmbeddingOption = False,
    format_: FormatOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    concurrency: ConcurrencyOption = AT_ONCE,
    policy: PolicyOption = None,
    head: HeadsOption = None,
    null: NullOption = False,
    json_: Annotated[
        bool, flag("--json", help="Print the result of one recording as indented JSON.")
    ] = False,
    *,
    connection: Connection,
) -> int:
    """Recognise emotion over time in recordings of up to two hours.

    The server cuts speech at pauses into pieces of up to 10 s. Each column of
    the strip is a part of the recording, in the colour of its emotion; the
    scores are means over all speech. SRT and VTT are subtitles for a player.

    JSONL has a row per recording, CSV and Parquet a row per piece. A recording
    that fails gets a row with the reason.

    Example: emotion2vec timeline call.mp3 -o call.json -o call.srt -o call.png
    """
    if hop is not None and window is None:
        raise typer.BadParameter("--hop is for windows: add --window")
    if window is not None and (min_segment is not None or max_segment is not None):
        raise typer.BadParameter(
            "windows are all of the same length: leave out --min-segment and --max-segment"
        )
    chosen, outputs = Files(files, null), output or []
    segmentation: Segmentation = "vad" if window is None else "fixed"
    channels: Channels = "separate" if separate else "mixed"
    several = _speakers(speakers)
    apart = are_told_apart(channels, several)
    if separate and several != 1:
        raise typer.BadParameter("with --separate each channel is a speaker: leave out --speakers")
    if names is not None and not apart:
        raise typer.BadParameter("--names are for several speakers: add --separate or --speakers 2")
    options = {
        "segmentation": segmentation,
        "channels": channels,
        "speakers": several,
        "names": split_names(names),
        "min_segment": min_segment,
        "max_segment": max_segment,
        "window": window,
        "hop": hop,
        "embedding": embedding,
    }
    _check(options)
    alone = chosen.is_one_name and _is_for_one(outputs, format_, resume)
    if json_ and (not alone or format_ is not None):
        raise typer.BadParameter("--json is for one recording: use --format jsonl for rows")
    rows = Format.table
    if alone:
        for path in outputs:
            _check_file(path, overwrite)
    else:
        rows = choose_format(format_, _only(outputs), resume, overwrite)
    shown = json_ or any(path.suffix.lower() in (".json", ".csv") for path in outputs)
    if embedding and rows is Format.table and not shown:
        raise typer.BadParameter(
            "embeddings do not fit a terminal: add -o timelines.jsonl, or --format jsonl"
        )
    judges = judging.load(policy, head)
    with connection.open(judges) as client:
        card = client.model_info().card
        warn_of_weights(client)
        dimension = int(card["embed_dim"]) if embedding else 0
        shape = TimelineShape(embedding, dimension, judges.labels, segmentation, apart)
        work = TimelineWork(client, shape, concurrency, options)
        if alone:
            return _show_one(work, next(iter(chosen)), outputs, json_)
        if rows is Format.table:
            return show_table(work, chosen)
        shown = bool(outputs) or not sys.stdout.isatty()
        return write_rows(work, chosen, rows, _only(outputs), resume, shown)


def _speakers(text: str) -> Speakers:
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise typer.BadParameter(f"--speakers is {text!r}: use 'auto' or a number")
    return int(text)


def _check(options: Mapping[str, Any]) -> None:
    """Refuses now what `Client.timeline` would refuse for each file."""
    seconds = {name: options[name] for name in ("min_segment", "max_segment", "window", "hop")}
    names = ("segmentation", "channels", "speakers", "names")
    try:
        check_timeline_options(seconds=seconds, **{name: options[name] for name in names})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _is_for_one(outputs: list[Path], format_: Optional[Format], resume: bool) -> bool:
    """Whether the options ask for files or a view of one recording, not for rows."""
    # A CSV file can also hold the rows of one recording.
    only_rows = SUFFIX_FORMATS.keys() - set(FORMATS)
    rows = any(path.suffix.lower() in only_rows for path in outputs)
    return format_ in (None, Format.table) and not resume and not rows


def _only(outputs: list[Path]) -> Optional[Path]:
    """The file for rows, None for stdout."""
    if len(outputs) > 1:
        raise typer.BadParameter(
            "rows go into one file: give one -o that ends in .jsonl, .csv or .parquet, or for one "
            f"recording several of {', '.join(FORMATS)}"
        )
    for path in outputs:
        if path.suffix.lower() in set(FORMATS) - SUFFIX_FORMATS.keys():
            raise typer.BadParameter(
                f"{path} can hold one recording, but not rows: give an -o that ends in .jsonl, "
                ".csv or .parquet"
            )
    return outputs[0] if outputs else None


def _check_file(path: Path, overwrite: bool) -> None:
    """Refuses an unusable output file before the recording is sent."""
    suffix = check_output(path, *FORMATS)
    if suffix in SUFFIX_FORMATS:
        # The file may have the rows of many recordings.
        check_replaced(path, SUFFIX_FORMATS[suffix], overwrite)
    if suffix == ".png":
        from emotion2vec_client.analysis.arrays import import_extra

        import_extra("matplotlib")


def _show_one(work: TimelineWork, path: Path, outputs: list[Path], as_json: bool) -> int:
    with _progress() as progress:
        found = work.client.timeline(path, progress=progress, **work.options)
    row = Row(str(path), found)
    text = json.dumps(work.shape.nested(row), ensure_ascii=False, indent=2)
    for each in outputs:
        suffix = each.suffix.lower()
        if suffix == ".csv":
            with open_writer("csv", each, work.shape, append=False) as writer:
                writer.write(row)
        elif suffix == ".json":
            each.write_text(text + "\n", encoding="utf-8")
        else:
            found.save(each)
    display.replace_unprintable()
    if as_json:
        print(text)
    else:
        show(found)
    if outputs:
        say_written(", ".join(map(str, outputs)))
    return 0


@contextmanager
def _progress() -> Iterator[Optional[Callable[[float], None]]]:
    """Shows a progress bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    # The default columns are bar, percentage and time left.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listening", total=1.0)
        yield lambda share: bar.update(task, completed=share)
