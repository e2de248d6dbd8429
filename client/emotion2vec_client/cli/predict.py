"""``emotion2vec predict``: the emotion of files, as many as there are."""

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from emotion2vec_client.cli.common import (
    DEFAULT_CONCURRENCY,
    DEFAULT_URL,
    ConcurrencyOption,
    FilesArgument,
    UrlOption,
    connect,
    iter_audio,
    warn_if_random,
)
from emotion2vec_client.cli.rows import Shape
from emotion2vec_client.cli.work import Work, show_one, show_table, write_rows

if TYPE_CHECKING:
    from emotion2vec_client.analysis.head import Head


class Granularity(str, Enum):
    """For the whole clip, or its course as well."""

    utterance = "utterance"
    frame = "frame"


class Format(str, Enum):
    """How rows come out."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


SUFFIX_FORMATS = {
    ".jsonl": Format.jsonl,
    ".ndjson": Format.jsonl,
    ".csv": Format.csv,
    ".parquet": Format.parquet,
}


def predict(
    files: FilesArgument,
    granularity: Annotated[
        Granularity,
        typer.Option(
            help="frame adds the course of the emotion; CSV and Parquet then have a row per frame "
            "and a column time, in seconds."
        ),
    ] = Granularity.utterance,
    embedding: Annotated[bool, typer.Option("--embedding", help="Add the embeddings.")] = False,
    format_: Annotated[
        Optional[Format],
        typer.Option(
            "--format",
            help="By default as -o ends; without -o a table on a terminal (bars for one file), and "
            "JSONL in a pipe.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output",
            "-o",
            help="Write to this file, which is replaced unless --resume is given.",
            show_default=False,
        ),
    ] = None,
    concurrency: ConcurrencyOption = DEFAULT_CONCURRENCY,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip the files that the output file has answers for, and append; those that "
            "failed are tried again. For JSONL and CSV.",
        ),
    ] = False,
    head: Annotated[
        Optional[Path],
        typer.Option(
            help="Add the labels of a head of your own, made by 'emotion2vec head fit'. It judges "
            "the whole clip.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    json_: Annotated[
        bool, typer.Option("--json", help="For one file: the result as indented JSON.")
    ] = False,
) -> int:
    """Recognise the emotion of audio files of 25 ms to 30 s, up to 10 MB each.

    One row per file, in the order of the files; a file that fails is a row
    with the reason. Ctrl-C leaves a JSONL or CSV file that --resume goes on with;
    a Parquet file is there only when it is complete.
    Exit codes: 0 all good, 1 some failed, 2 wrong usage.

    Example: emotion2vec predict recordings/ -o emotions.jsonl --resume
    """
    total = None if "-" in files else sum(1 for _ in iter_audio(files))
    view = _view(total, format_, output, resume, json_)
    trained = None if head is None else _load_head(head)
    with connect(url) as client:
        card = client.model_info().card
        if trained is not None:
            trained.check_card(card)
        shape = Shape(
            granularity="frame" if granularity is Granularity.frame else "utterance",
            embedding=embedding,
            dimension=int(card["embed_dim"]) if embedding else 0,
            head_labels=None if trained is None else trained.labels,
        )
        work = Work(client, shape, trained, concurrency)
        if view != "bars":
            # The bars have the warning above them.
            warn_if_random(client)
        if view in ("bars", "json"):
            return show_one(work, next(iter_audio(files)), as_json=view == "json")
        if view == "table":
            return show_table(work, iter_audio(files), total)
        return write_rows(work, files, total, view, output, resume)


def _view(
    total: Optional[int],
    format_: Optional[Format],
    output: Optional[Path],
    resume: bool,
    as_json: bool,
) -> str:
    """How to show the result: a format, or for one file ``bars`` or ``json``."""
    if resume and output is None:
        raise typer.BadParameter("--resume needs the file to go on with: add -o emotions.jsonl")
    if as_json:
        if format_ is not None or output is not None:
            raise typer.BadParameter("--json is for the terminal: use --format and -o without it")
        if total != 1:
            raise typer.BadParameter("--json is for one file: use --format jsonl for several")
        return "json"
    if format_ is None:
        if output is not None:
            format_ = SUFFIX_FORMATS.get(output.suffix.lower())
            if format_ is None:
                raise typer.BadParameter(
                    f"{output} does not tell the format by its end: add --format jsonl, csv or "
                    "parquet"
                )
        elif sys.stdout.isatty():
            return "bars" if total == 1 else "table"
        else:
            format_ = Format.jsonl
    if format_ is Format.table and output is not None:
        raise typer.BadParameter("a table is for the terminal: use jsonl, csv or parquet with -o")
    if format_ is Format.table and total == 1:
        return "bars"
    if format_ is Format.parquet and output is None:
        raise typer.BadParameter("Parquet needs a file: add -o emotions.parquet")
    if format_ is Format.parquet and resume:
        raise typer.BadParameter(
            "a Parquet file cannot be appended to: use jsonl or csv with --resume"
        )
    return format_.value


def _load_head(path: Path) -> "Head":
    # Imported when it is needed: without a head nothing of the analysis is.
    from emotion2vec_client.analysis.head import Head

    return Head.load(path)
