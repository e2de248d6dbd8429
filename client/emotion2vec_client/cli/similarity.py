"""The command ``emotion2vec similarity``."""

import json
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from emotion2vec_client.analysis.arrays import DoubleArray
from emotion2vec_client.analysis.similarity import LEAST, LEAST_REFERENCE, Similarity, compare
from emotion2vec_client.cli import common
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.embeddings import check_count, embed
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption

MOST_IN_MATRIX = 8
"""More columns do not fit a terminal: then each file gets only its nearest and farthest file."""


@connects
def similarity(
    files: FilesArgument,
    reference: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Folder of recordings whose mean is subtracted, ideally of many speakers and "
            "emotions; by default the mean of the files themselves, if there are three or more."
        ),
    ] = None,
    as_json: common.JsonOption = False,
    concurrency: common.ConcurrencyOption = common.DEFAULT_CONCURRENCY,
    null: NullOption = False,
    *,
    connection: Connection,
) -> None:
    """Show how similar recordings are.

    Prints the cosine of every pair of embeddings, raw and centred on a
    reference set. Raw cosines are nearly always above 0.9, even between
    emotions; the centred ones show differences.

    Example: emotion2vec similarity a.wav b.wav --reference recordings/
    """
    paths = list(Files(files, null))
    check_count(paths, LEAST, "similarity")
    reference_paths = list(Files(reference)) if reference else []
    if reference:
        check_count(reference_paths, LEAST_REFERENCE, "a reference set")
    with connection.open() as client:
        embedded = embed(client, paths, concurrency)
        base = embed(client, reference_paths, concurrency) if reference_paths else None
    result = compare(embedded.embeddings, None if base is None else base.embeddings)
    names = [str(path) for path in embedded.paths]
    if as_json:
        typer.echo(json.dumps(to_dict(result, names), ensure_ascii=False, indent=2))
    else:
        show(result, names, Console())
    if embedded.failures or (base is not None and base.failures):
        raise typer.Exit(1)


def meaning(result: Similarity) -> list[str]:
    """Sentences that explain the numbers."""
    lines = [
        "Raw cosine: nearly always above 0.9 for emotion2vec, even between different emotions, "
        "because all embeddings share a large common part."
    ]
    if result.centred is None or result.typical is None:
        return [*lines, "Give --reference DIR, or three or more files, for the centred cosine."]
    typical = result.typical
    lines.append(
        "Centred cosine: without that common part; 1 is similar, 0 unrelated, below 0 opposite."
    )
    if result.own_mean:
        lines.append(
            f"Centred on the mean of these {typical.size} files: unrelated files are then near "
            f"{-1 / (typical.size - 1):.2f}. --reference DIR with many recordings is more reliable."
        )
    else:
        lines.append(
            f"Half of all pairs of the {typical.size} reference files are above raw "
            f"{typical.raw:.3f} and centred {typical.centred:.3f}."
        )
    return lines


def to_dict(result: Similarity, names: list[str]) -> dict[str, object]:
    """All numbers as plain JSON types; an undefined cosine is None."""
    typical = result.typical
    return {
        "files": names,
        "raw": _plain(result.raw),
        "centred": None if result.centred is None else _plain(result.centred),
        "reference": None
        if typical is None
        else {
            "files": typical.size,
            "own_mean": result.own_mean,
            "median_raw": _number(typical.raw),
            "median_centred": _number(typical.centred),
        },
        "meaning": meaning(result),
    }


def show(result: Similarity, names: list[str], console: Console) -> None:
    """Prints tables for people, and explains their numbers."""
    centred = result.centred
    if len(names) > MOST_IN_MATRIX and centred is not None:
        console.print(_extremes(result.raw, centred, names))
    else:
        console.print(_matrix("Raw cosine", result.raw, names))
        if centred is not None:
            console.print(_matrix("Centred cosine", centred, names))
    for line in meaning(result):
        console.print(line, markup=False, highlight=False, style="dim")


def _matrix(title: str, cosines: DoubleArray, names: list[str]) -> Table:
    table = Table(title=title)
    table.add_column("")
    table.add_column("file", overflow="fold")
    for number in range(1, len(names) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for number, (name, row) in enumerate(zip(_short(names), cosines), 1):
        table.add_row(str(number), name, *(_cell(value) for value in row))
    return table


def _extremes(raw: DoubleArray, centred: DoubleArray, names: list[str]) -> Table:
    """Each file with the most and the least similar other file, by centred cosine."""
    short = _short(names)
    table = Table(title="Nearest and farthest by centred cosine (--json has all)")
    for column in ("file", "nearest", "farthest"):
        table.add_column(column, overflow="fold")
        if column != "file":
            table.add_column("centred", justify="right", no_wrap=True)
            table.add_column("raw", justify="right", no_wrap=True)
    for row, name in enumerate(short):
        others = [each for each in range(len(names)) if each != row]
        known = [each for each in others if centred[row, each] == centred[row, each]]
        cells = [name]
        for choose in (max, min):
            if known:
                other = choose(known, key=centred[row].__getitem__)
                cells += [short[other], _cell(centred[row, other]), _cell(raw[row, other])]
            else:
                cells += ["–", "–", "–"]
        table.add_row(*cells)
    return table


def _short(names: list[str]) -> list[str]:
    """File names, without folders if they are still unique, with markup escaped."""
    bare = [Path(name).name for name in names]
    chosen = bare if len(set(bare)) == len(names) else names
    return [name.replace("[", r"\[") for name in chosen]


def _cell(value: float) -> str:
    return "–" if value != value else f"{value:.3f}"


def _number(value: float) -> Optional[float]:
    return None if value != value else float(value)


def _plain(cosines: DoubleArray) -> list[list[Optional[float]]]:
    return [[_number(value) for value in row] for row in cosines]
