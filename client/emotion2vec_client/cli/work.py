"""The work of ``predict`` and ``timeline`` on many files: files to rows, rows to their place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from emotion2vec_client.cli import display
from emotion2vec_client.cli.common import complain, counted, say_written, told_where_it_ends
from emotion2vec_client.cli.files import Files
from emotion2vec_client.cli.output import Format
from emotion2vec_client.cli.resume import resume as read_done
from emotion2vec_client.cli.rows import Row, Shape
from emotion2vec_client.cli.table import print_table
from emotion2vec_client.cli.writers import open_writer
from emotion2vec_client.client import Client


@dataclass(frozen=True)
class Work(ABC):
    """What is to be done with each file.

    Attributes:
        client: Connected to the server.
        shape: What the rows hold.
        concurrency: Requests in flight.
    """

    client: Client
    shape: Shape
    concurrency: int

    @abstractmethod
    def rows(
        self, paths: Iterable[Path], total: int | None, shown: bool = True
    ) -> Generator[Row, None, None]:
        """The rows of files, in their order, with a progress bar.

        Args:
            paths: The files.
            total: How many, None when that is not known.
            shown: False where something else uses the terminal meanwhile.

        Raises:
            Emotion2VecError: The server is gone for good, or does not accept the client.
        """


@dataclass
class Tally:
    """How far the work is.

    Attributes:
        total: Files in all, None when that is not known.
        before: Files that the output had already.
        done: Files since then.
        failed: Failures among them.
        rows: Rows of them in the output.
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
    """Shows files as a table, once all are done."""
    tally = Tally(files.count())

    def where() -> str:
        return f"{tally} were done, and none is written: add -o emotions.jsonl to keep rows"

    rows = []
    with told_where_it_ends(where), closing(work.rows(files, tally.total)) as coming:
        for row in coming:
            rows.append(row)
            tally.done += 1
            tally.failed += row.answer is None
    display.survive_odd_terminals()
    print_table(rows, work.client.model_info().weights)
    return _finish(tally, "see the table")


def write_rows(
    work: Work, files: Files, format_: Format, output: Path | None, resume: bool, shown: bool
) -> int:
    """Writes rows as they come.

    Args:
        work: What is done with each file.
        files: The files.
        format_: Of the rows.
        output: The file, None for stdout.
        resume: Whether to go on with what the file has.
        shown: Whether a bar has the terminal for itself.
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
                f"{tally} were done, and none is in {output}, which is written at the end: JSONL "
                "and CSV are written file by file, and --resume goes on with them"
            )
        return f"{tally} are in {output}: run it again with --resume to go on"

    rows = work.rows(todo(), left, shown)
    opened = open_writer(format_.value, output, work.shape, append=resume)
    with told_where_it_ends(where), closing(rows), opened as writer:
        for row in rows:
            tally.done += 1
            tally.failed += row.answer is None
            tally.rows += writer.write(row)
    look = "see its row" if tally.failed == 1 else "see their rows"
    if output is None:
        return _finish(tally, look)
    in_parts = work.shape.in_parts and format_ is not Format.jsonl
    of = f" of {counted(tally.done, 'file')}" if in_parts else ""
    before = f"; {counted(tally.before, 'file')} done before" if tally.before else ""
    failed = f"; {counted(tally.failed, 'file')} failed: {look}" if tally.failed else ""
    say_written(f"{counted(tally.rows, 'row')}{of} to {output}{before}{failed}")
    return 1 if tally.failed else 0


def _finish(tally: Tally, look: str) -> int:
    """Says how many failed and where to look; returns the exit code."""
    if not tally.failed:
        return 0
    of = f" of {tally.done:,}" if tally.done > 1 else ""
    noun = "file" if tally.done == 1 else "files"
    complain(f"{tally.failed:,}{of} {noun} failed: {look}")
    return 1
