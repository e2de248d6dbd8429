"""Options for output files, and checks that protect existing ones."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from emotion2vec_client.cli.common import flag


class Format(str, Enum):
    """Formats of rows."""

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

FormatOption = Annotated[
    Optional[Format],
    typer.Option(
        "--format",
        help="By default the extension of -o decides; without -o, a terminal gets a table (a "
        "larger view for one file), and a pipe gets JSONL.",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    bool,
    flag(
        "--resume",
        help="Append to the output file: skip the files that it has results for, and retry those "
        "that failed. For JSONL and CSV.",
    ),
]
OverwriteOption = Annotated[
    bool, flag("--overwrite", help="Replace an output file that already has rows.")
]
EmbeddingOption = Annotated[bool, flag("--embedding", help="Add the embeddings.")]


def choose_format(
    format_: Optional[Format], output: Optional[Path], resume: bool, overwrite: bool
) -> Format:
    """Chooses the format of rows; checks the output file before the first recording is sent.

    Args:
        format_: Value of ``--format``.
        output: The file, None for stdout.
        resume: Whether to continue the file.
        overwrite: Whether to replace the file.

    Raises:
        typer.BadParameter: The options contradict each other, or the file already has rows.
    """
    if output is None:
        if resume or overwrite:
            option = "--resume" if resume else "--overwrite"
            raise typer.BadParameter(f"{option} is for an output file: add -o emotions.jsonl")
        if format_ is Format.parquet:
            raise typer.BadParameter("Parquet needs a file: add -o emotions.parquet")
        return format_ or (Format.table if sys.stdout.isatty() else Format.jsonl)
    if format_ is Format.table:
        raise typer.BadParameter("a table is for the terminal: use jsonl, csv or parquet with -o")
    named = SUFFIX_FORMATS.get(output.suffix.lower())
    if format_ is not None and named not in (None, format_):
        raise typer.BadParameter(
            f"--format {format_.value} contradicts the extension of {output}: leave --format out, "
            f"or name the file {output.with_suffix('.' + format_.value)}"
        )
    format_ = format_ or named
    if format_ is None:
        raise typer.BadParameter(
            f"{output} does not show the format by its extension: add --format jsonl, csv or "
            "parquet"
        )
    if format_ is Format.parquet and resume:
        raise typer.BadParameter(
            "a Parquet file cannot be appended to: use jsonl or csv with --resume"
        )
    _check_folder(output)
    if not resume:
        check_replaced(output, format_, overwrite)
    elif overwrite:
        raise typer.BadParameter("--resume keeps rows, --overwrite replaces them: give one of them")
    return format_


def check_output(output: Path, *extensions: str) -> str:
    """Refuses an unusable output file before the first recording is sent.

    Args:
        output: The file.
        extensions: Those that the command writes, such as ``.csv``; the first is suggested.

    Returns:
        The file's extension in lower case.

    Raises:
        typer.BadParameter: The file has another extension, or its folder does not exist.
    """
    extension = output.suffix.lower()
    if extension not in extensions:
        raise typer.BadParameter(
            f"{output} does not end in {' or '.join(extensions)}: name it "
            f"{output.with_suffix(extensions[0])}"
        )
    _check_folder(output)
    return extension


def _check_folder(output: Path) -> None:
    if not output.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}: create it first")


def check_replaced(output: Path, format_: Format, overwrite: bool) -> None:
    """Refuses to replace rows, which may be hours of work, without ``--overwrite``."""
    if overwrite or not output.is_file() or not output.stat().st_size:
        return
    resume = "" if format_ is Format.parquet else "add --resume to continue it, or "
    raise typer.BadParameter(f"{output} already has rows: {resume}add --overwrite to replace it")
