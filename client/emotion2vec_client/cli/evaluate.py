"""The command ``emotion2vec evaluate``."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emotion2vec_client._result import ModelInfo
from emotion2vec_client.analysis import report
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.corpora import as_nine
from emotion2vec_client.analysis.evaluation import MEASURES, Evaluation
from emotion2vec_client.analysis.evaluation import evaluate as compute
from emotion2vec_client.analysis.head import Head
from emotion2vec_client.analysis.label_file import LabelledFile
from emotion2vec_client.analysis.policy import NINE
from emotion2vec_client.cli import common, judging, labelled
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.output import Format, OverwriteOption, ResumeOption, check_replaced
from emotion2vec_client.cli.predict import PredictionWork
from emotion2vec_client.cli.rows import PredictionShape

ANSWERS = "answers.jsonl"
MODEL = "model.json"


@connects
def evaluate(
    corpus: labelled.CorpusArgument,
    label_map: labelled.LabelMapOption = None,
    head: Annotated[
        Optional[Path],
        typer.Option(help="Evaluate your own head, on its own labels.", show_default=False),
    ] = None,
    policy: Annotated[
        Optional[Path],
        typer.Option(help="Evaluate the answers of a policy.", show_default=False),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output",
            "-o",
            help="Folder for report.md, report.json, pictures and all answers; created.",
            show_default=False,
        ),
    ] = None,
    fail_under: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Exit with 1 if a measure is smaller: uar=0.6; also wa, macro_f1, micro_f1. "
            "Repeatable.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    concurrency: common.ConcurrencyOption = common.DEFAULT_CONCURRENCY,
    *,
    connection: Connection,
) -> int:
    """Measure how well labelled recordings are recognised.

    Prints UAR, WA and F1 with confidence intervals, the confusions, and how far
    confidences can be trusted; -o also writes a report. Exit codes: 0 success,
    1 a recording failed or a measure is too small, 2 wrong usage.

    Example: emotion2vec evaluate labels.csv -o report/ --fail-under uar=0.6
    """
    least = _thresholds(fail_under or [])
    if head is not None and policy is not None:
        raise typer.BadParameter("a head has its own labels: give --head or --policy")
    if output is None and (resume or overwrite):
        raise typer.BadParameter("--resume and --overwrite are for a report: add -o report/")
    # Check before sending files, which may take long.
    for module in ("audmetric", "sklearn", "matplotlib"):
        import_extra(module)
    rows = labelled.corpus(corpus, label_map)
    judges = judging.load(policy, [head] if head else None)
    trained = next(iter(judges.heads.values()), None)
    with common.wrong_usage():
        meanings = _own_labels(rows, trained) if trained else as_nine(rows)
    answers = None
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        answers = output / ANSWERS
        if not resume:
            check_replaced(answers, Format.jsonl, overwrite)
    with connection.open(judges) as client:
        info = client.model_info()
        if output is not None:
            labelled.check_same(output / MODEL, info, head, resume)
        work = PredictionWork(client, PredictionShape(judged=judges.labels), concurrency)
        answered = labelled.answer(work, rows, answers, resume)
    truth = [meanings[row.label] for row in answered.rows]
    labels, probabilities, floor = NINE, answered.scores, 0.0
    if trained is not None:
        labels = trained.labels
        probabilities = answered.of_head(labels)
    elif judges.policy is not None:
        labels, floor = judges.policy.labels, judges.policy.floor
        probabilities = judges.policy.predict(answered.scores)
        truth = [judges.policy.of(name) for name in truth]
    found = compute(
        truth,
        probabilities,
        labels,
        floor=floor,
        groups=answered.groups,
        seconds=[entry["duration"] for entry in answered.answers],
    )
    judged = f"head {head}" if head else f"policy {policy}" if policy else None
    _show(found, info, Console(), report.OF_JUDGES if judged else report.LIMITS[0])
    renamed = {label: new for label, new in meanings.items() if label != new}
    if output is not None:
        about = report.About(str(corpus), info, judged, renamed, answered.failures)
        report.write(output, found, about)
        common.say_written(f"{output / 'report.md'}, report.json and two pictures")
    for file, reason in answered.failures.items():
        common.complain(f"{file}: {reason}")
    return _judge(found, least, len(answered.failures))


def _own_labels(rows: list[LabelledFile], trained: Head) -> dict[str, str]:
    """Each label of the corpus, which must be one of the head's."""
    labels = sorted({row.label for row in rows})
    unknown = [label for label in labels if label not in trained.labels]
    if unknown:
        raise typer.BadParameter(
            f"the head has no label {unknown[0]!r}, only {', '.join(trained.labels)}: rename or "
            "leave out the corpus's labels with --label-map map.json"
        )
    return {label: label for label in labels}


def _thresholds(texts: list[str]) -> dict[str, float]:
    least = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            least[name] = float(value)
        except ValueError:
            least[name] = -1.0
        if name not in MEASURES or not 0 <= least[name] <= 1:
            raise typer.BadParameter(
                f"--fail-under is {text!r}: give one of {', '.join(MEASURES)}, =, and a number "
                "from 0 to 1"
            )
    return least


def _show(found: Evaluation, info: ModelInfo, console: Console, limit: str) -> None:
    table = Table(title=f"{found.files:,} recordings, {info.checkpoint}")
    table.add_column("truth \\ answer")
    for name in found.answers:
        table.add_column(escape(name), justify="right")
    table.add_column("recall", justify="right")
    for name, row in zip(found.truths, found.confusion.tolist()):
        table.add_row(escape(name), *map(str, row), f"{100 * found.recalls[name]:.1f} %")
    console.print(table)
    for name, title in report.TITLES.items():
        figure = getattr(found, name)
        console.print(
            f"{title:<33} {figure.value:.3f}   95 % interval {figure.low:.3f} to {figure.high:.3f}",
            highlight=False,
        )
    console.print(
        f"{'expected calibration error':<33} {found.calibration.error:.3f}", highlight=False
    )
    for name, share in found.evasive.items():
        console.print(f"{'answered ' + name:<33} {100 * share:.1f} %", highlight=False)
    console.print(f"\n{limit}", style="dim", highlight=False)


def _judge(found: Evaluation, least: dict[str, float], failures: int) -> int:
    """The exit code; reports each measure that is too small."""
    small = {name: value for name, value in least.items() if getattr(found, name).value < value}
    for name, value in small.items():
        common.complain(f"{name} is {getattr(found, name).value:.3f}, under {value:g}")
    return 1 if small or failures else 0
