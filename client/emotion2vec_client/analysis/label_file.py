"""CSV files that name a label for each recording."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion2vec_client.analysis.errors import AnalysisError

GROUPS = ("speaker", "group")


@dataclass(frozen=True)
class LabelledFile:
    """A row of the CSV.

    Attributes:
        path: The recording; a relative path is joined to the CSV's folder.
        label: Label of the recording.
        group: Speaker or group of the recording, None if the CSV has no such column.
    """

    path: Path
    label: str
    group: str | None = None


def read_labels(source: Path) -> list[LabelledFile]:
    """Reads a CSV with columns file and label, and optionally speaker or group.

    Relative paths are relative to the CSV's folder. Recordings need not exist.

    Args:
        source: The CSV, UTF-8, with a header.

    Raises:
        AnalysisError: The file is not such a CSV; the message names the line.
        OSError: The file cannot be opened.
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            return _rows(source, csv.DictReader(stream, skipinitialspace=True))
    except UnicodeDecodeError as error:
        raise AnalysisError(f"{source} is not UTF-8: save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise AnalysisError(
            f"{source} is not a CSV file ({error}): save it as CSV in UTF-8"
        ) from error


def _rows(source: Path, reader: csv.DictReader[str]) -> list[LabelledFile]:
    columns = [(name or "").strip().lower() for name in reader.fieldnames or []]
    reader.fieldnames = columns
    for name in ("file", "label"):
        if name not in columns:
            raise AnalysisError(
                f"{source} has no column {name!r} but {', '.join(columns) or 'nothing at all'}: "
                "give it the header 'file,label', and a comma between columns"
            )
    groups = [name for name in GROUPS if name in columns]
    if len(groups) > 1:
        raise AnalysisError(f"{source} has both 'speaker' and 'group': keep one of these columns")
    rows: list[LabelledFile] = []
    lines: list[int] = []
    for row in reader:
        where = f"{source}, line {reader.line_num}"
        if None in row:
            raise AnalysisError(
                f"{where} has more than {len(columns)} columns: quote values that contain a comma"
            )
        cells = {name: (row[name] or "").strip() for name in ["file", "label", *groups]}
        for name, value in cells.items():
            if not value:
                raise AnalysisError(f"{where} has no {name}: fill it in, or leave the row out")
        path = source.parent / cells["file"]
        lines.append(reader.line_num)
        rows.append(LabelledFile(path, cells["label"], cells[groups[0]] if groups else None))
    if not rows:
        raise AnalysisError(f"{source} has a header and no rows: add one row per recording")
    check_repeated(source, [row.path for row in rows], lines)
    return rows


def check_repeated(source: Path, paths: Sequence[Path], lines: Sequence[int]) -> None:
    """Refuses a recording that is named twice.

    In a cross-validation, it could be in both training and test.

    Args:
        source: The file that names them.
        paths: The recordings.
        lines: The line of each.

    Raises:
        AnalysisError: The message names both lines.
    """
    firsts: dict[Path, int] = {}
    for path, line in zip(paths, lines):
        first = firsts.setdefault(path.resolve(), line)
        if first != line:
            raise AnalysisError(
                f"{source}, line {line} names {path.name} again, as line {first} did: keep one of "
                "them"
            )
