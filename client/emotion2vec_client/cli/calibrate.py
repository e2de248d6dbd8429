"""The command ``emotion2vec calibrate``."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.calibrate import calibrate as fit
from emotion2vec_client.analysis.calibrate import split
from emotion2vec_client.analysis.corpora import as_nine
from emotion2vec_client.analysis.policy import NINE, Policy
from emotion2vec_client.cli import common, labelled
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.output import check_output
from emotion2vec_client.cli.predict import PredictionWork
from emotion2vec_client.cli.rows import PredictionShape


@connects
def calibrate(
    corpus: labelled.CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The policy: name.json.")],
    label_map: labelled.LabelMapOption = None,
    policy: Annotated[
        Optional[Path],
        typer.Option(
            help="Keep the bans, merges, floor and names of this policy.", show_default=False
        ),
    ] = None,
    concurrency: common.ConcurrencyOption = common.DEFAULT_CONCURRENCY,
    *,
    connection: Connection,
) -> int:
    """Fit confidences to your recordings: a policy with a temperature and biases.

    The printed figures come from cross-validation; if speakers are known, no
    speaker is used for both fitting and measuring.

    Example: emotion2vec calibrate labels.csv -o policy.json
    """
    check_output(output, ".json")
    # Check before sending files, which may take long.
    import_extra("sklearn")
    rows = labelled.corpus(corpus, label_map)
    with common.wrong_usage():
        base = None if policy is None else Policy.load(policy)
        meanings = as_nine(rows)
        # Before files are sent, too: a recording that fails later may change this.
        groups = [row.group for row in rows if row.group is not None]
        split([meanings[row.label] for row in rows], groups if len(groups) == len(rows) else None)
    with connection.open() as client:
        work = PredictionWork(client, PredictionShape(), concurrency)
        answered = labelled.answer(work, rows, None)
    truth = [meanings[row.label] for row in answered.rows]
    made, before, after = fit(answered.scores, truth, answered.groups, base)
    made.save(output)
    console = Console(highlight=False)
    console.print(f"temperature {made.temperature:.3f}")
    for name, value in sorted(made.bias.items(), key=lambda item: -item[1]):
        console.print(f"bias of {name:<10} {value:+.3f}")
    console.print(f"\n{'':<28}  before   after")
    console.print(f"{'expected calibration error':<28} {before.ece:>7.3f} {after.ece:>7.3f}")
    console.print(f"{'unweighted average recall':<28} {before.uar:>7.3f} {after.uar:>7.3f}")
    absent = [name for name in NINE if name not in truth]
    if absent:
        console.print(
            f"Your recordings have no {', '.join(absent)}, so the policy hardly answers that.",
            style="yellow",
        )
    if after.ece > before.ece:
        console.print(
            "The calibration error has not fallen: these recordings are too few, or already fit.",
            style="yellow",
        )
    if answered.groups is None:
        console.print(
            "Recordings were split without regard to speakers: add a column speaker to know how "
            "this holds for new voices.",
            style="yellow",
        )
    common.say_written(str(output))
    for file, reason in answered.failures.items():
        common.complain(f"{file}: {reason}")
    return 1 if answered.failures else 0
