"""The commands ``emotion2vec head …``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.fit import Validation, fit_head
from emotion2vec_client.analysis.label_file import read_labels
from emotion2vec_client.cli import common
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.display import counted
from emotion2vec_client.cli.embeddings import embed
from emotion2vec_client.cli.output import check_output

app = typer.Typer(
    help="Train classifiers for your own labels. Example: emotion2vec head fit labels.csv -o "
    "stress.json",
    no_args_is_help=True,
)


@app.callback()
def head() -> None:
    """Makes typer keep ``fit`` as a subcommand although it is the only one."""


@app.command()
@connects
def fit(
    labels: Annotated[
        Path,
        typer.Argument(
            help="CSV with columns file,label and optionally speaker or group; paths are relative "
            "to the CSV's folder."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file: name.json.")],
    concurrency: common.ConcurrencyOption = common.DEFAULT_CONCURRENCY,
    *,
    connection: Connection,
) -> None:
    """Fit a classifier for your own labels on the embeddings.

    Standardises the embeddings and fits a logistic regression, with
    cross-validation. If the CSV has a column speaker (or group), no speaker is
    in both training and test: the figures then hold for new voices.

    Example: emotion2vec head fit labels.csv -o stress.json
    """
    check_output(output, ".json")
    # Check before sending files, which may take long.
    import_extra("sklearn")
    with common.wrong_usage():
        rows = {row.path: row for row in read_labels(labels)}
    missing = [path for path in rows if not path.is_file()]
    if missing:
        more = f" and {counted(len(missing) - 1, 'other')}" if len(missing) > 1 else ""
        raise typer.BadParameter(
            f"{labels} names {missing[0]}{more}, which cannot be found: paths are relative to the "
            "CSV's folder"
        )
    with connection.open() as client:
        card = client.model_info().card
        embedded = embed(client, list(rows), concurrency)
    used = [rows[path] for path in embedded.paths]
    groups = [row.group for row in used if row.group is not None]
    made, validation = fit_head(
        embedded.embeddings, [row.label for row in used], card, groups or None
    )
    made.save(output)
    console = Console()
    show(validation, len(set(groups)), console)
    common.say_written(str(output))
    if embedded.failures:
        raise typer.Exit(1)


def show(validation: Validation, groups: int, console: Console) -> None:
    """Prints the figures of the cross-validation, and for which voices they are valid."""
    files = int(validation.confusion.sum())
    table = Table(title="Confusion")
    table.add_column("true \\ predicted")
    for name in validation.labels:
        table.add_column(escape(name), justify="right")
    table.add_column("recall", justify="right")
    for name, row, recall in zip(validation.labels, validation.confusion, validation.recalls):
        table.add_row(escape(name), *(str(count) for count in row), f"{100 * recall:.1f} %")
    console.print(table)
    console.print(
        f"accuracy {100 * validation.accuracy:.1f} %, "
        f"UAR {100 * validation.uar:.1f} % (guessing: {100 / len(validation.labels):.1f} %), "
        f"{files} files in {validation.folds} folds",
        highlight=False,
    )
    if validation.by == "group":
        console.print(f"None of the {groups} speakers or groups was in both training and test.")
    else:
        console.print(
            "Files were split without regard to speakers: the figures hold for the same voices and "
            "are too good for new ones. Add a column speaker with two or more speakers.",
            style="yellow",
        )
    if validation.incomplete_folds:
        console.print(
            f"In {validation.incomplete_folds} of {validation.folds} folds a label was missing in "
            "training, so its files counted as wrong: give every label several speakers.",
            style="yellow",
        )
