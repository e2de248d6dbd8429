"""The work of ``emotion2vec predict``: files to rows, and rows to where they go."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion2vec_client.cli import display
from emotion2vec_client.cli.common import answers, complain, iter_audio, progress, sentence
from emotion2vec_client.cli.resume import resume as read_done
from emotion2vec_client.cli.rows import HeadAnswer, Row, Shape, nested
from emotion2vec_client.cli.writers import open_writer
from emotion2vec_client.client import Client
from emotion2vec_client.errors import Emotion2VecError
from emotion2vec_client.result import Outcome, Prediction

if TYPE_CHECKING:
    from emotion2vec_client.analysis.head import Head


@dataclass(frozen=True)
class Work:
    """What is to be done with each file."""

    client: Client
    shape: Shape
    head: Head | None
    concurrency: int

    def rows(
        self, paths: Iterable[Path], total: int | None, shown: bool = True
    ) -> Generator[Row, None, None]:
        """The rows of files, in their order, with a progress bar."""
        outcomes = answers(
            self.client,
            paths,
            concurrency=self.concurrency,
            granularity=self.shape.granularity,
            embedding=self.shape.embedding or self.head is not None,
        )
        with closing(outcomes), progress(total, shown) as advance:
            for outcome in outcomes:
                yield self._row(outcome)
                advance()

    def _row(self, outcome: Outcome[Path]) -> Row:
        file, error = str(outcome.item), outcome.error
        if outcome.prediction is None:
            error = error or Emotion2VecError("the server gave no answer")
            return Row(file, None, sentence(error), type(error).__name__)
        return Row(file, outcome.prediction, head=self._judge(outcome.prediction))

    def _judge(self, prediction: Prediction) -> HeadAnswer | None:
        if self.head is None or prediction.embedding is None:
            return None
        [scores] = self.head.predict(prediction.embedding[np.newaxis])
        named = dict(zip(self.head.labels, scores.tolist()))
        return HeadAnswer(max(named, key=lambda name: named[name]), named)


def show_one(work: Work, path: Path, as_json: bool) -> int:
    """Shows one file large."""
    with closing(work.rows([path], 1)) as rows:
        row = next(rows)
    if row.prediction is None:
        complain(row.reason)
        return 1
    display.survive_odd_terminals()
    if as_json:
        print(json.dumps(nested(row, work.shape), ensure_ascii=False, indent=2))
    else:
        print(display.describe(row.prediction, row.head))
    return 0


def show_table(work: Work, paths: Iterable[Path], total: int | None) -> int:
    """Shows files as a table, once all are done."""
    rows = list(work.rows(paths, total))
    display.survive_odd_terminals()
    display.print_table(rows, work.client.model_info().weights)
    return _finish(sum(row.prediction is None for row in rows), len(rows))


def write_rows(
    work: Work,
    files: Sequence[str],
    total: int | None,
    format_: str,
    output: Path | None,
    resume: bool,
) -> int:
    """Writes rows as they come."""
    done: set[str] = set()
    if resume and output is not None:
        done = read_done(output, format_, work.shape)
        if done and total is not None:
            total = sum(str(path) not in done for path in iter_audio(files))
    paths = (path for path in iter_audio(files) if str(path) not in done)
    # A bar and rows on the same terminal would be a mess.
    shown = output is not None or not sys.stdout.isatty()
    failed = written = 0
    rows = work.rows(paths, total, shown)
    with closing(rows), open_writer(format_, output, work.shape, append=resume) as writer:
        for row in rows:
            writer.write(row)
            written += 1
            failed += row.prediction is None
    return _finish(failed, written)


def _finish(failed: int, total: int) -> int:
    if failed:
        complain(f"{failed} of {total} files failed: see their rows")
    return 1 if failed else 0
