"""Reads an output file back, so that a command can continue it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Callable, NamedTuple

import typer

from emotion2vec_client.cli.rows import Shape
from emotion2vec_client.cli.writers import TEXT_ERRORS, csv_header


class Record(NamedTuple):
    """A row of an output file.

    Attributes:
        file: Name of the recording.
        good: Whether the row has a result; if not, it has a failure.
    """

    file: str
    good: bool


Parse = Callable[[bytes], Record]


def resume(path: Path, format: str, shape: Shape) -> set[str]:
    """Prepares an output file for appending.

    Removes a half-written row at the end, as a kill leaves it, and all failures, because the
    command retries them.

    Args:
        path: The file; it may be missing.
        format: ``jsonl`` or ``csv``.
        shape: Shape of the new rows.

    Returns:
        The recordings that are done.

    Raises:
        typer.BadParameter: The file's rows have another shape.
        OSError: The file cannot be read or changed.
    """
    path = path.resolve()
    if not path.exists():
        return set()
    parse = _json_parser(path, shape) if format == "jsonl" else _csv_parser(path, shape)
    # All rows of a recording are written at once, but a kill may still come in the middle.
    in_parts = format == "csv" and shape.in_parts
    done: set[str] = set()
    failed = False
    last, last_start, end = "", 0, 0
    with path.open("r+b") as stream:
        header = _skip_header(path, stream, shape) if format == "csv" else 0
        end = header
        for raw in _records(stream, quoted=format == "csv"):
            record = parse(raw)
            if record.file != last:
                last, last_start = record.file, end
            end += len(raw)
            failed |= not record.good
            if record.good:
                done.add(record.file)
        if in_parts and last in done:
            done.discard(last)
            end = last_start
        stream.truncate(end)
    if failed:
        _drop_failures(path, parse, header, format)
    return done


def _skip_header(path: Path, stream: BinaryIO, shape: Shape) -> int:
    expected = csv_header(shape).encode("utf-8", TEXT_ERRORS["csv"])
    header = next(_records(stream, quoted=True), None)
    if header is None:
        return 0
    if header != expected:
        raise _other_rows(path)
    stream.seek(len(header))
    return len(header)


def _drop_failures(path: Path, parse: Parse, header: int, format: str) -> None:
    """Copies all rows but the failures, and then replaces the file with the copy."""
    copy = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with path.open("rb") as source, copy.open("wb") as target:
            target.write(source.read(header))
            target.writelines(
                raw for raw in _records(source, quoted=format == "csv") if parse(raw).good
            )
        shutil.copymode(path, copy)
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)


def _records(stream: BinaryIO, quoted: bool) -> Iterator[bytes]:
    """Yields complete rows; ignores an incomplete one at the end.

    Args:
        stream: The file, at its current position.
        quoted: Whether quoted cells may contain line breaks.
    """
    record = b""
    for line in stream:
        record += line
        open_quote = quoted and record.count(b'"') % 2
        if line.endswith(b"\n") and not open_quote:
            yield record
            record = b""


def _json_parser(path: Path, shape: Shape) -> Parse:
    def parse(raw: bytes) -> Record:
        try:
            row = json.loads(raw)
            if "error" in row:
                return Record(row["file"], False)
            same, file = shape.fits(row), row["file"]
        except (ValueError, KeyError, TypeError) as error:
            raise _other_rows(path) from error
        if not same:
            raise _other_rows(path)
        return Record(file, True)

    return parse


def _csv_parser(path: Path, shape: Shape) -> Parse:
    error_column = shape.columns().index("error")

    def parse(raw: bytes) -> Record:
        text = raw.decode("utf-8", TEXT_ERRORS["csv"])
        cells = next(csv.reader(io.StringIO(text, newline="")), [])
        if len(cells) <= error_column:
            raise _other_rows(path)
        return Record(cells[0], not cells[error_column])

    return parse


def _other_rows(path: Path) -> typer.BadParameter:
    return typer.BadParameter(
        f"{path} has rows that other options made: use those options, or another file"
    )
