"""The command ``emotion2vec cluster``."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.clustering import LEAST, Clusters, find_clusters
from emotion2vec_client.cli import common
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.display import counted
from emotion2vec_client.cli.embeddings import check_count, embed
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption
from emotion2vec_client.cli.output import check_output

NEAREST = 3
WEAK = 0.1
"""Below this mean silhouette the recordings hardly form clusters."""


@connects
def cluster(
    files: FilesArgument,
    k: Annotated[
        str, typer.Option("-k", help="Number of clusters; auto takes the best silhouette.")
    ] = "auto",
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Also write the clusters: name.csv or name.json."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random starts.")] = 0,
    concurrency: common.ConcurrencyOption = common.DEFAULT_CONCURRENCY,
    null: NullOption = False,
    *,
    connection: Connection,
) -> None:
    """Group recordings that are similar to the model.

    K-means on the embeddings. The silhouette shows how well a file fits its
    cluster: 1 is a good fit, 0 between two clusters, below 0 closer to another.

    Example: emotion2vec cluster recordings/ -k auto -o clusters.csv
    """
    count = _parse_k(k)
    if output is not None:
        check_output(output, ".csv", ".json")
    # Check before sending files, which may take long.
    import_extra("sklearn")
    paths = list(Files(files, null))
    check_count(paths, LEAST, "clustering")
    if count is not None and count >= len(paths):
        raise typer.BadParameter(
            f"{count} clusters of {len(paths)} files are not possible: give 2 to {len(paths) - 1}"
        )
    with connection.open() as client:
        embedded = embed(client, paths, concurrency)
    found = find_clusters(embedded.embeddings, count, seed)
    names = [str(path) for path in embedded.paths]
    emotions = [prediction.emotion for prediction in embedded.predictions]
    show(found, names, emotions, Console())
    if output is not None:
        write(output, found, names, emotions)
        common.say_written(f"{counted(len(names), 'row')} to {output}")
    if embedded.failures:
        raise typer.Exit(1)


def show(found: Clusters, names: list[str], emotions: list[str], console: Console) -> None:
    """Prints the clusters, then their files, the nearest to the centre first."""
    table = Table(title=f"{found.k} clusters of {len(names)} files")
    table.add_column("cluster", justify="right")
    table.add_column("files", justify="right")
    table.add_column("mostly")
    table.add_column("silhouette", justify="right")
    table.add_column("nearest its centre", overflow="fold")
    for number in range(found.k):
        rows = found.members(number)
        emotion, times = Counter(emotions[row] for row in rows).most_common(1)[0]
        nearest = [escape(Path(names[row]).name) for row in rows[:NEAREST]]
        table.add_row(
            str(number + 1),
            str(len(rows)),
            f"{emotion} {100 * times / len(rows):.0f} %",
            f"{found.silhouette[rows].mean():.3f}",
            ", ".join(nearest),
        )
    console.print(table)
    for number in range(found.k):
        console.print(f"\nCluster {number + 1}", style="bold")
        for row in found.members(number):
            line = f"  {names[row]}  ({emotions[row]}, silhouette {found.silhouette[row]:.2f})"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    tried = ", ".join(f"{count}: {score:.3f}" for count, score in found.tried.items())
    console.print(f"\nMean silhouette by number of clusters: {tried}", highlight=False, style="dim")
    if found.score < WEAK:
        console.print(
            f"A mean silhouette of {found.score:.3f} is near 0: these recordings hardly form "
            "clusters.",
            highlight=False,
            style="yellow",
        )


def write(output: Path, found: Clusters, names: list[str], emotions: list[str]) -> None:
    """Writes one entry per file, cluster by cluster; JSON also has the clusters' figures."""
    rows: list[dict[str, Any]] = [
        {
            "file": names[row],
            "cluster": number + 1,
            "emotion": emotions[row],
            "silhouette": round(float(found.silhouette[row]), 6),
            "distance": round(float(found.distance[row]), 6),
        }
        for number in range(found.k)
        for row in found.members(number)
    ]
    if output.suffix.lower() == ".json":
        content = {
            "k": found.k,
            "silhouette": found.score,
            "silhouette_by_k": {str(count): score for count, score in found.tried.items()},
            "files": rows,
        }
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        output.write_text(text, encoding="utf-8")
        return
    with output.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _parse_k(text: str) -> Optional[int]:
    if text.strip().lower() == "auto":
        return None
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 2:
        raise typer.BadParameter(f"-k is {text!r}: give a number from 2, or auto")
    return count
