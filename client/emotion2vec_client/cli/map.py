"""The command ``emotion2vec map``."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from emotion2vec_client._weights import CAUTIONS
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.analysis.label_file import read_labels
from emotion2vec_client.analysis.plots import UNLABELLED, Point, write_html, write_png
from emotion2vec_client.analysis.projection import FEW, LEAST, check_method, project
from emotion2vec_client.cli import common
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.embeddings import check_count, embed
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption
from emotion2vec_client.cli.output import check_output


class Method(str, Enum):
    """Methods of projection."""

    tsne = "tsne"
    umap = "umap"


@connects
def map_(
    files: FilesArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Output file: name.html or name.png.")
    ],
    method: Annotated[
        Method, typer.Option(help="umap needs the package umap-learn.")
    ] = Method.tsne,
    labels: Annotated[
        Optional[Path],
        typer.Option(help="CSV with columns file,label: colour by label instead of by emotion."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="A different seed gives a different map.")] = 0,
    concurrency: common.ConcurrencyOption = common.DEFAULT_CONCURRENCY,
    null: NullOption = False,
    *,
    connection: Connection,
) -> None:
    """Draw a map on which similar recordings are near each other.

    The HTML page shows file, emotion and confidence on hover; it is a
    single file that loads nothing else.

    Example: emotion2vec map recordings/ -o map.html
    """
    suffix = check_output(output, ".html", ".png")
    check_method(method.value)
    if suffix == ".png":
        import_extra("matplotlib")
    paths = list(Files(files, null))
    check_count(paths, LEAST, "a map")
    with common.wrong_usage():
        own = _labels_of(labels, paths) if labels is not None else None
    with connection.open() as client:
        embedded = embed(client, paths, concurrency)
    places = project(embedded.embeddings, method.value, seed)
    points = [
        Point(
            name=str(path),
            emotion=prediction.emotion,
            confidence=prediction.confidence,
            label=None if own is None else own.get(path.resolve(), UNLABELLED),
        )
        for path, prediction in zip(embedded.paths, embedded.predictions)
    ]
    title = f"{len(points)} recordings, {'t-SNE' if method is Method.tsne else 'UMAP'}"
    notes = _notes(len(points))
    kinds = {prediction.weights for prediction in embedded.predictions}
    shown = [*(f"⚠  {CAUTIONS[kind]}." for kind in sorted(kinds & CAUTIONS.keys())), *notes]
    if suffix == ".html":
        write_html(output, places, points, title, shown)
    else:
        write_png(output, places, points, title, shown)
    console = Console(stderr=True)
    for note in notes:
        console.print(note, markup=False, highlight=False, style="dim")
    common.say_written(str(output))
    if embedded.failures:
        raise typer.Exit(1)


def _labels_of(source: Path, paths: Sequence[Path]) -> dict[Path, str]:
    labels = {row.path.resolve(): row.label for row in read_labels(source)}
    if not any(path.resolve() in labels for path in paths):
        raise AnalysisError(
            f"{source} names none of the {len(paths)} recordings: its paths are relative to its "
            f"own folder, so the first one means {next(iter(labels))}"
        )
    return labels


def _notes(count: int) -> list[str]:
    notes = ["Nearby points are similar; the axes and the distances between groups mean nothing."]
    if count < FEW:
        notes.append(f"{count} recordings are too few for a reliable map: give at least {FEW}.")
    return notes
