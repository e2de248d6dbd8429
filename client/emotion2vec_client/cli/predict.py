"""The command ``emotion2vec predict``."""

import json
import sys
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import numpy as np
import typer

from emotion2vec_client._result import Outcome, Prediction
from emotion2vec_client.cli import display
from emotion2vec_client.cli.common import (
    DEFAULT_CONCURRENCY,
    ConcurrencyOption,
    answers,
    complain,
    flag,
    progress,
    sentence,
    wrong_usage,
)
from emotion2vec_client.cli.connection import (
    Connection,
    connects,
    outages_reported,
    warn_of_weights,
)
from emotion2vec_client.cli.files import Files, FilesArgument, NullOption
from emotion2vec_client.cli.output import (
    EmbeddingOption,
    Format,
    FormatOption,
    OverwriteOption,
    ResumeOption,
    choose_format,
)
from emotion2vec_client.cli.rows import HeadAnswer, PredictionShape, Row
from emotion2vec_client.cli.strip import show_course
from emotion2vec_client.cli.work import Work, show_table, write_rows
from emotion2vec_client.errors import Emotion2VecError

if TYPE_CHECKING:
    from emotion2vec_client.analysis.head import Head


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
    head: Annotated[
        Optional[Path],
        typer.Option(
            help="Add the labels of your own head, made by 'emotion2vec head fit'. It judges the "
            "whole clip.",
            show_default=False,
        ),
    ] = None,
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
    trained = None if head is None else _load_head(head)
    with connection.open() as client:
        card = client.model_info().card
        if trained is not None:
            trained.check_card(card)
        shape = PredictionShape(
            embedding=embedding,
            dimension=int(card["embed_dim"]) if embedding else 0,
            granularity="frame" if granularity is Granularity.frame else "utterance",
            head_labels=None if trained is None else trained.labels,
        )
        work = PredictionWork(client, shape, concurrency, trained)
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
    """Predictions, with the results of a head.

    Attributes:
        head: The head, if any.
    """

    shape: PredictionShape
    head: Optional["Head"] = None

    def rows(
        self, paths: Iterable[Path], total: Optional[int], shown: bool = True
    ) -> Generator[Row, None, None]:
        """See `Work.rows`."""
        outcomes = answers(
            self.client,
            paths,
            concurrency=self.concurrency,
            granularity=self.shape.granularity,
            embedding=self.shape.embedding or self.head is not None,
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
        return Row(file, outcome.prediction, head=self._judge(outcome.prediction))

    def _judge(self, prediction: Prediction) -> Optional[HeadAnswer]:
        if self.head is None or prediction.embedding is None:
            return None
        [scores] = self.head.predict(prediction.embedding[np.newaxis])
        named = dict(zip(self.head.labels, scores.tolist()))
        return HeadAnswer(max(named, key=lambda name: named[name]), named)


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
    print(display.describe(row.answer, row.head))
    if row.answer.frames is not None:
        print()
        show_course(row.answer)
    return 0


def _check_json(total: Optional[int], format_: Optional[Format], output: Optional[Path]) -> None:
    if format_ is not None or output is not None:
        raise typer.BadParameter("--json is for the terminal: use --format and -o without it")
    if total != 1:
        raise typer.BadParameter("--json is for one file: use --format jsonl for several")


def _load_head(path: Path) -> "Head":
    # Imported late: without a head, the command needs nothing of the analysis.
    from emotion2vec_client.analysis.head import Head

    with wrong_usage():
        return Head.load(path)
