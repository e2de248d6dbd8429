"""Writes rows as JSONL, CSV and Parquet, each as soon as it is known."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol, TextIO

from emotion2vec_client._timeline import SCORES
from emotion2vec_client.cli.rows import Row, Shape, short, text_of
from emotion2vec_client.errors import Emotion2VecError

PARQUET_GROUP = 4096
"""Rows that are written together, because Parquet is inefficient in smaller groups."""

# File names may be any bytes. JSON escapes invalid ones, CSV keeps them; both can be read back.
TEXT_ERRORS = {"jsonl": "backslashreplace", "csv": "surrogateescape"}

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class Writer(Protocol):
    """Writes rows."""

    def write(self, row: Row) -> int:
        """Writes the result of a file; returns how many rows that took."""


@contextmanager
def open_writer(format: str, path: Path | None, shape: Shape, append: bool) -> Iterator[Writer]:
    """Opens a writer.

    Args:
        format: ``jsonl``, ``csv`` or ``parquet``.
        path: The file, None for stdout.
        shape: Columns of the rows.
        append: Whether to continue the file.

    Raises:
        OSError: The file cannot be written.
        Emotion2VecError: pyarrow is missing.
    """
    if format == "parquet":
        if path is None:
            raise ValueError("Parquet needs a file")
        with _replacing(path) as temporary, ParquetWriter(temporary, shape) as parquet:
            yield parquet
        return
    with _open_text(format, path, append) as stream:
        fresh = path is None or stream.tell() == 0
        yield JsonlWriter(stream, shape) if format == "jsonl" else CsvWriter(stream, shape, fresh)


@contextmanager
def _open_text(format: str, path: Path | None, append: bool) -> Iterator[TextIO]:
    errors = TEXT_ERRORS[format]
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors=errors)
        yield sys.stdout
    else:
        with open(
            path, "a" if append else "w", encoding="utf-8", errors=errors, newline=""
        ) as stream:
            yield stream


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file that replaces the path on success and is deleted on failure."""
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class JsonlWriter:
    """A JSON object per line."""

    def __init__(self, stream: TextIO, shape: Shape) -> None:
        self._stream = stream
        self._shape = shape

    def write(self, row: Row) -> int:
        """Writes the whole line at once, so that no other output comes in between."""
        self._stream.write(json.dumps(self._shape.nested(row), ensure_ascii=False) + "\n")
        self._stream.flush()
        return 1


class CsvWriter:
    """A line per file, frame or segment; embeddings have a column per number."""

    def __init__(self, stream: TextIO, shape: Shape, fresh: bool) -> None:
        self._stream = stream
        self._shape = shape
        if fresh:
            self._stream.write(csv_header(shape))
            self._stream.flush()

    def write(self, row: Row) -> int:
        """Writes all lines of a file at once."""
        columns = self._shape.columns()
        lines = []
        for values in self._shape.flat(row):
            cells = [text_of(values.get(name)) for name in columns]
            if self._shape.embedding:
                vector = cells.pop()
                cells += [""] * self._shape.dimension if vector is None else short(vector)
            lines.append(cells)
        self._stream.write(_csv_text(lines))
        self._stream.flush()
        return len(lines)


def csv_header(shape: Shape) -> str:
    """The first line of a CSV file."""
    names = shape.columns()
    if shape.embedding:
        names[-1:] = [f"e{index}" for index in range(shape.dimension)]
    return _csv_text([names])


def _csv_text(lines: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


class ParquetWriter:
    """A row per file, frame or segment; embeddings are lists.

    Args:
        target: Path or binary file.
        shape: Columns of the rows.
        metadata: Of the file.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        shape: Shape,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            # A pyarrow that does not fit the installed NumPy raises this too.
            raise Emotion2VecError(
                f"Parquet needs pyarrow: pip install './client[parquet]' ({error})"
            ) from error
        self._arrow = pyarrow
        self._shape = shape
        self._rows: list[dict[str, Any]] = []
        self._schema = pyarrow.schema(
            [(name, self._type(name)) for name in shape.columns()], metadata or None
        )
        self._file = parquet.ParquetWriter(target, self._schema)

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self._flush()
        finally:
            self._file.close()

    def write(self, row: Row) -> int:
        """Collects rows, and writes them once a group is full."""
        count = 0
        for values in self._shape.flat(row):
            count += 1
            self._rows.append({**values, "file": row.printable_file})
            if len(self._rows) == PARQUET_GROUP:
                self._flush()
        return count

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._arrow.Table.from_pylist(self._rows, self._schema))
            self._rows = []

    def _type(self, name: str) -> Any:
        if name == "embedding":
            return self._arrow.list_(self._arrow.float32())
        if name == "timestamp":
            # Without a time zone, readers would take local time for UTC.
            return self._arrow.timestamp("ms", tz="UTC")
        if name in ("time", "duration", "start", "end", "speech"):
            return self._arrow.float64()
        if name == "segments":
            return self._arrow.int32()
        scores = {"confidence", *SCORES}
        scores |= {
            f"{name}_{label}" for name, labels in self._shape.judged.items() for label in labels
        }
        return self._arrow.float32() if name in scores else self._arrow.string()
