"""The command ``emotion2vec predict``."""

import json
import sys
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from emotion2vec_client._result import Outcome, Prediction
from emotion2vec_client.cli import display, judging
from emotion2vec_client.cli.common import (
    DEFAULT_CONCURRENCY,
    ConcurrencyOption,
    answers,
    complain,
    flag,
    progress,
    sentence,
)
from emotion2vec_client.cli.connection import (
    Connection,
    connects,
    outages_reported,
    warn_of_weights,
)
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption
from emotion2vec_client.cli.judging import HeadsOption, PolicyOption
from emotion2vec_client.cli.output import (
    EmbeddingOption,
    Format,
    FormatOption,
    OverwriteOption,
    ResumeOption,
    choose_format,
)
from emotion2vec_client.cli.rows import PredictionShape, Row
from emotion2vec_client.cli.strip import show_course
from emotion2vec_client.cli.work import Work, show_table, write_rows
from emotion2vec_client.errors import Emotion2VecError


class Granularity(str, Enum):
    """Scores for the whole clip, or for each frame too."""

    utterance = "utterance"
    frame = "frame"


@connects
def predict(
    files: FilesArgument,
    granularity: Annotated[
        Granularity,
        typer.Option(
            help="frame adds scores for each frame; CSV and Parquet then have a row per frame and "
            "a column time, in seconds."
        ),
    ] = Granularity.utterance,
    embedding: EmbeddingOption = False,
    format_: FormatOption = None,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Write rows to this file.", show_default=False),
    ] = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    concurrency: ConcurrencyOption = DEFAULT_CONCURRENCY,
    policy: PolicyOption = None,
    head: HeadsOption = None,
    null: NullOption = False,
    json_: Annotated[
        bool, flag("--json", help="Print the result of one file as indented JSON.")
    ] = False,
    *,
    connection: Connection,
) -> int:
    """Recognise the emotion of audio files of 25 ms to 30 s, up to 10 MB each.

    Writes one row per file, in the order of the files; a file that fails gets
    a row with the reason. After Ctrl-C, --resume continues a JSONL or CSV
    file; a Parquet file appears only when it is complete.
    Exit codes: 0 success, 1 something failed, 2 wrong usage, 130 interrupted.

    Example: emotion2vec predict recordings/ -o emotions.jsonl --resume
    """
    chosen = Files(files, null)
    total = chosen.count()
    if json_:
        _check_json(total, format_, output)
        rows = Format.jsonl
    else:
        rows = choose_format(format_, output, resume, overwrite)
        if rows is Format.table and embedding:
            raise typer.BadParameter(
                "embeddings do not fit a terminal: add -o emotions.jsonl, or --format jsonl"
            )
    judges = judging.load(policy, head)
    with connection.open(judges) as client:
        card = client.model_info().card
        shape = PredictionShape(
            embedding=embedding,
            dimension=int(card["embed_dim"]) if embedding else 0,
            judged=judges.labels,
            granularity="frame" if granularity is Granularity.frame else "utterance",
        )
        work = PredictionWork(client, shape, concurrency)
        warn_of_weights(client)
        if json_ or (rows is Format.table and total == 1):
            return _show_one(work, next(iter(chosen)), json_)
        if rows is Format.table:
            return show_table(work, chosen)
        # A progress bar and rows on the same terminal would mix.
        shown = output is not None or not sys.stdout.isatty()
        return write_rows(work, chosen, rows, output, resume, shown)


@dataclass(frozen=True)
class PredictionWork(Work):
    """Predictions."""

    shape: PredictionShape

    def rows(
        self, paths: Iterable[Path], total: Optional[int], shown: bool = True
    ) -> Generator[Row, None, None]:
        """See `Work.rows`."""
        outcomes = answers(
            self.client,
            paths,
            concurrency=self.concurrency,
            granularity=self.shape.granularity,
            embedding=self.shape.embedding,
        )
        with closing(outcomes), progress(total, shown) as advance, outages_reported():
            for done, outcome in enumerate(outcomes, start=1):
                yield self._row(outcome)
                advance(done)

    def _row(self, outcome: Outcome[Path]) -> Row:
        file, error = str(outcome.item), outcome.error
        if outcome.prediction is None:
            error = error or Emotion2VecError("the server gave no result")
            return Row(file, None, sentence(error), type(error).__name__)
        return Row(file, outcome.prediction)


def _show_one(work: PredictionWork, path: Path, as_json: bool) -> int:
    """Shows one file in the larger view."""
    with closing(work.rows([path], 1)) as rows:
        row = next(rows)
    if not isinstance(row.answer, Prediction):
        complain(row.reason)
        return 1
    display.replace_unprintable()
    if as_json:
        print(json.dumps(work.shape.nested(row), ensure_ascii=False, indent=2))
        return 0
    print(display.describe(row.answer))
    if row.answer.frames is not None:
        print()
        show_course(row.answer)
    return 0


def _check_json(total: Optional[int], format_: Optional[Format], output: Optional[Path]) -> None:
    if format_ is not None or output is not None:
        raise typer.BadParameter("--json is for the terminal: use --format and -o without it")
    if total != 1:
        raise typer.BadParameter("--json is for one file: use --format jsonl for several")
