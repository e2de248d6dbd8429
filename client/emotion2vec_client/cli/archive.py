"""The command ``emotion2vec archive``."""

import hashlib
import os
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Callable, Optional

import typer

from emotion2vec_client._base import OUTAGE_SECONDS
from emotion2vec_client._client import Client
from emotion2vec_client.archive import local, on_ray
from emotion2vec_client.archive.job import TIMELINE, Job, Step
from emotion2vec_client.archive.plan import Plan, differences, read_plan, write_plan
from emotion2vec_client.archive.results import MANIFEST, failures, finish, missing, written
from emotion2vec_client.archive.sources import find
from emotion2vec_client.archive.stores import Store, StoreError, is_url
from emotion2vec_client.cli import judging
from emotion2vec_client.cli.common import (
    DEFAULT_CONCURRENCY,
    flag,
    progress_in_errors,
    say_written,
)
from emotion2vec_client.cli.connection import (
    Connection,
    connects,
    outages_reported,
    warn_of_weights,
)
from emotion2vec_client.cli.display import counted
from emotion2vec_client.cli.judging import HeadsOption, PolicyOption
from emotion2vec_client.cli.output import EmbeddingOption

PART_SIZE, TIMELINE_PART_SIZE = 1000, 20
"""Recordings in a part, unless the user chooses: a run that is killed loses unfinished parts."""

LINE_SECONDS = 10.0
"""Time between two lines of progress where there is no terminal."""

Advance = Callable[[Step], None]


@connects
def archive(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, patterns, files, tar shards (WebDataset), and Parquet or CSV lists of "
            "paths; each a path or a URL such as s3://bucket/calls.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="DEST",
            help="Folder or URL (s3://…) of the results.",
            show_default=False,
        ),
    ],
    column: Annotated[str, typer.Option(help="The column of a list that has the paths.")] = "path",
    timeline: Annotated[
        bool,
        flag("--timeline", help="For long recordings: also a row per segment, in DEST/_segments."),
    ] = False,
    embedding: EmbeddingOption = False,
    part_size: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help=f"Recordings in a part: {PART_SIZE:,}, or {TIMELINE_PART_SIZE} with --timeline.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            help=f"Requests in flight at once; with Ray, of each of {on_ray.ACTORS} actors per "
            "--url.",
        ),
    ] = DEFAULT_CONCURRENCY,
    policy: PolicyOption = None,
    head: HeadsOption = None,
    retry_failed: Annotated[
        bool, flag("--retry-failed", help="Also retry the recordings whose rows have errors.")
    ] = False,
    ray: Annotated[
        bool, flag("--ray", help="Work with Ray, on this machine or as a Ray job.")
    ] = False,
    address: Annotated[
        Optional[str],
        typer.Option(
            help="Work with Ray on the cluster at this address, or 'auto'.", show_default=False
        ),
    ] = None,
    *,
    connections: Sequence[Connection],
) -> int:
    """Recognise the emotions of an archive of up to millions of recordings.

    These have 25 ms to 30 s and up to 10 MB each; with --timeline, up to two
    hours and 200 MB. Writes Parquet files with one row per recording; a
    recording that fails gets a row with the reason. Started again with the same sources and
    options, the command does what is missing, whatever ended it before.
    Exit codes: 0 every recording has its row, also those that failed, which
    are counted at the end and in manifest.json; 1 rows are missing; 2 wrong
    usage; 130 interrupted.

    Example: emotion2vec archive recordings/ -o emotions/
    """
    use_ray = ray or address is not None
    if len(connections) > 1 and not use_ray:
        raise typer.BadParameter("several services need Ray: add --ray, or give one --url")
    if "-" in sources:
        raise typer.BadParameter("stdin (-) is no source, because it cannot be read again")
    judges = judging.load(policy, head)
    part_size = part_size or (TIMELINE_PART_SIZE if timeline else PART_SIZE)
    # Relative ones would be others in another folder.
    absolute = [each if is_url(each) else os.path.abspath(each) for each in sources]
    options = {
        "sources": absolute,
        "column": column,
        "timeline": TIMELINE if timeline else None,
        "embedding": embedding,
        "part size": part_size,
        "policy": _digest(policy),
        "heads": {path.stem: _digest(path) for path in head or []},
    }
    try:
        store = Store.of(output)
    except ValueError as error:
        raise typer.BadParameter(f"--output {error}") from error
    with connections[0].open(judges) as client, outages_reported():
        plan = _plan(store, client, options, sources, part_size)
        todo = missing(store, plan)
        again: Mapping[int, Sequence[int]] = {}
        if retry_failed:
            again = failures(store, plan, sorted(set(range(plan.parts)).difference(todo)))
            todo = sorted([*todo, *again])
        on_disk = [_existing(each) for each in absolute if not is_url(each)]
        job = Job(
            store, plan, connections, judges, concurrency, timeline, embedding, again, on_disk
        )
        if todo:
            store.remove(MANIFEST)
            steps = on_ray.run(job, todo, address) if use_ray else local.run(job, client, todo)
            _do(job, todo, steps)
    failed = finish(store, plan)
    problems = f"; {counted(failed, 'file')} failed: see the column error" if failed else ""
    say_written(
        f"{counted(plan.inputs, 'row')} in {counted(plan.parts, 'part')} to {output}{problems}"
    )
    return 0


def _plan(
    store: Store, client: Client, options: dict[str, Any], sources: Sequence[str], part_size: int
) -> Plan:
    """The plan that the store has, or a new one."""
    # A service that starts together with this command may need a minute.
    client.retry_seconds = OUTAGE_SECONDS
    card = client.model_info().card
    warn_of_weights(client)
    plan = read_plan(store)
    if plan is None:
        found = find(sources, options["column"])
        with progress_in_errors(lambda: "nothing was recognised yet"), _listing() as listed:
            plan = write_plan(store, found, options, card, part_size, listed)
    other = list(differences(plan, options, card))
    if other:
        raise typer.BadParameter(
            f"{store.url} was begun with others: {'; '.join(other)}; give the same, or choose "
            "another folder"
        )
    return plan


def _do(job: Job, todo: Sequence[int], steps: Generator[Step, None, None]) -> None:
    """Does the missing parts, and shows progress."""
    plan = job.plan
    files = plan.inputs - sum(job.size(number) for number in todo)

    def where() -> str:
        again = "run the same command again to continue"
        try:
            done = len(written(job.store, plan))
        except (OSError, StoreError):
            return again
        return f"{done:,} of {counted(plan.parts, 'part')} are in {job.store.url}: {again}"

    with progress_in_errors(where), closing(steps), _progress(files, plan.inputs) as advance:
        for step in steps:
            advance(step)


@contextmanager
def _progress(before: int, total: int) -> Iterator[Advance]:
    """Shows files, their rate, the time left and failures: as a bar on a terminal, or in lines."""
    done, failed = before, 0
    if sys.stderr.isatty():
        from rich.progress import TextColumn

        from emotion2vec_client.cli.display import progress_bar

        bar = progress_bar()
        bar.columns = (*bar.columns, TextColumn("{task.description}"))
        with bar:
            task = bar.add_task("", total=total, completed=before)

            def show(step: Step) -> None:
                nonlocal failed
                failed += step.failed
                bar.update(task, advance=step.files, description=_failures(failed))

            yield show
        return
    began = said = time.monotonic()

    def say(step: Step) -> None:
        nonlocal done, failed, said
        done += step.files
        failed += step.failed
        now = time.monotonic()
        if now - said >= LINE_SECONDS or (done == total and step.files):
            said = now
            rate = (done - before) / (now - began)
            left = f"{(total - done) / rate:,.0f} s left" if rate else "no file yet"
            parts = [f"{done:,} of {counted(total, 'file')}", f"{rate:.1f} files/s", left]
            print(", ".join([*parts, *filter(None, [_failures(failed)])]), file=sys.stderr)

    yield say


def _failures(failed: int) -> str:
    return f"{failed:,} failed" if failed else ""


@contextmanager
def _listing() -> Iterator[Callable[[int], None]]:
    """Says every few seconds how many recordings were found."""
    said = time.monotonic()

    def say(found: int) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            print(f"found {counted(found, 'file')} so far", file=sys.stderr)

    yield say


def _existing(path: str) -> str:
    """The path, or the nearest folder of it that exists: it may be a pattern."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _digest(path: Optional[Path]) -> Optional[str]:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
