"""Runs ``predict`` and ``timeline`` on many files and writes or shows their rows."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from emotion2vec_client._client import Client
from emotion2vec_client.cli import display
from emotion2vec_client.cli.common import complain, progress_in_errors, say_written
from emotion2vec_client.cli.display import counted
from emotion2vec_client.cli.files import Files
from emotion2vec_client.cli.output import Format
from emotion2vec_client.cli.resume import resume as read_done
from emotion2vec_client.cli.rows import Row, Shape
from emotion2vec_client.cli.table import print_table
from emotion2vec_client.cli.writers import open_writer


@dataclass(frozen=True)
class Work(ABC):
    """A task for each file.

    Attributes:
        client: Connected to the server.
        shape: Columns of the rows.
        concurrency: Requests in flight.
    """

    client: Client
    shape: Shape
    concurrency: int

    @abstractmethod
    def rows(
        self, paths: Iterable[Path], total: int | None, shown: bool = True
    ) -> Generator[Row, None, None]:
        """Yields a row per file, in the order of the files, and shows a progress bar.

        Args:
            paths: The files.
            total: Number of files, None if unknown.
            shown: False if something else uses the terminal meanwhile.

        Raises:
            Emotion2VecError: The server stays down, or does not accept the client.
        """


@dataclass
class Tally:
    """How far the work is.

    Attributes:
        total: All files, None if unknown.
        before: Files that the output already had.
        done: Files that this run has finished.
        failed: Failures among those.
        rows: Rows that this run has written.
    """

    total: int | None
    before: int = 0
    done: int = 0
    failed: int = 0
    rows: int = 0

    def __str__(self) -> str:
        done = self.before + self.done
        if self.total is None:
            return counted(done, "file")
        return f"{done:,} of {counted(self.total, 'file')}"


def show_table(work: Work, files: Files) -> int:
    """Shows all files as a table, once they are done."""
    tally = Tally(files.count())

    def where() -> str:
        return f"{tally} were done, but nothing was written: add -o emotions.jsonl to keep rows"

    rows = []
    with progress_in_errors(where), closing(work.rows(files, tally.total)) as coming:
        for row in coming:
            rows.append(row)
            tally.done += 1
            tally.failed += row.answer is None
    display.replace_unprintable()
    print_table(rows)
    return _finish(tally, "see the table")


def write_rows(
    work: Work, files: Files, format_: Format, output: Path | None, resume: bool, shown: bool
) -> int:
    """Writes rows as they come.

    Args:
        work: The task for each file.
        files: The files.
        format_: Format of the rows.
        output: The file, None for stdout.
        resume: Whether to continue the file.
        shown: Whether to show a progress bar.
    """
    tally = Tally(files.count())
    done: set[str] = set()
    left = tally.total
    if resume and output is not None:
        done = read_done(output, format_.value, work.shape)
        if tally.total is not None:
            left = sum(str(path) not in done for path in files)
            tally.before = tally.total - left

    def todo() -> Iterator[Path]:
        for path in files:
            if str(path) not in done:
                yield path
            elif tally.total is None:
                tally.before += 1

    def where() -> str:
        if output is None:
            return f"{tally} were done"
        if format_ is Format.parquet:
            return (
                f"{tally} were done, but none is in {output}, which is written at the end: JSONL "
                "and CSV are written file by file, and --resume continues them"
            )
        return f"{tally} are in {output}: run it again with --resume to continue"

    rows = work.rows(todo(), left, shown)
    opened = open_writer(format_.value, output, work.shape, append=resume)
    with progress_in_errors(where), closing(rows), opened as writer:
        for row in rows:
            with uninterrupted():
                tally.rows += writer.write(row)
                tally.done += 1
                tally.failed += row.answer is None
    look = "see its row" if tally.failed == 1 else "see their rows"
    if output is None:
        return _finish(tally, look)
    in_parts = work.shape.in_parts and format_ is not Format.jsonl
    of = f" of {counted(tally.done, 'file')}" if in_parts else ""
    before = f"; {counted(tally.before, 'file')} done before" if tally.before else ""
    failed = f"; {counted(tally.failed, 'file')} failed: {look}" if tally.failed else ""
    say_written(f"{counted(tally.rows, 'row')}{of} to {output}{before}{failed}")
    return 1 if tally.failed else 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the end, so that a row is written and counted, or neither."""
    pressed: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    except ValueError:
        # Only the main thread gets Ctrl-C.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    # A background job of a shell ignores Ctrl-C.
    if pressed and callable(before):
        before(pressed[0], None)


def _finish(tally: Tally, look: str) -> int:
    """Reports how many failed and where to look; returns the exit code."""
    if not tally.failed:
        return 0
    of = f" of {tally.done:,}" if tally.done > 1 else ""
    noun = "file" if tally.done == 1 else "files"
    complain(f"{tally.failed:,}{of} {noun} failed: {look}")
    return 1
