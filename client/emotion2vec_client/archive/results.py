"""The parts of the results: which are done, and whether they are complete.

Part 17 of the inputs becomes part 17 of the results, whose file appears in one step and has the id
of the plan: a part whose file is there is done. So a run that is killed anywhere is continued by
doing the parts whose files are missing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.archive.plan import (
    FOLDER,
    SEGMENTS,
    DamagedError,
    Plan,
    as_json,
    damage_reported,
    read_names,
    read_plan,
)
from emotion2vec_client.archive.stores import Store, StoreError, is_abandoned
from emotion2vec_client.errors import Emotion2VecError

MANIFEST = f"{FOLDER}/manifest.json"

PLAN_KEY = "emotion2vec.plan"
"""Where the metadata of each Parquet file has the id of the plan."""

READERS = 16
"""Parts that are read at once."""

AGAIN = "run the same command again"
DELETE = f"delete it, and {AGAIN}"


def part_name(number: int) -> str:
    """Name of a part's file."""
    return f"part-{number:05}.parquet"


def written(store: Store, plan: Plan) -> list[int]:
    """The numbers of the parts whose files are there; what is in them is not read."""
    there = {f"{folder}{name}" for folder in plan.folders for name in store.names(folder)}
    return [number for number in range(plan.parts) if there.issuperset(_files(plan, number))]


def missing(store: Store, plan: Plan) -> list[int]:
    """The numbers of the parts that are not done. A part of another plan is not.

    Raises:
        DamagedError: A part cannot be read.
    """

    def is_done(number: int) -> bool:
        return all(_plan_of(store, name) == plan.id for name in _files(plan, number))

    there = written(store, plan)
    with ThreadPoolExecutor(READERS) as pool, _no_manifest_if_it_fails(store):
        done = {number for number, own in zip(there, pool.map(is_done, there)) if own}
    return [number for number in range(plan.parts) if number not in done]


def failures(store: Store, plan: Plan, numbers: Sequence[int]) -> Mapping[int, Sequence[int]]:
    """The positions of the rows with errors, for each of the given parts that has any.

    Raises:
        DamagedError: A part cannot be read.
    """

    def failed(number: int) -> Sequence[int]:
        found = [_errors(_rows(store, name)[1]) for name in _files(plan, number)]
        # A run may have been killed between the two files of a part.
        same = len({len(each) for each in found}) == 1
        return found[-1] if same else range(plan.size(number))

    with ThreadPoolExecutor(READERS) as pool, _no_manifest_if_it_fails(store):
        return {number: each for number, each in zip(numbers, pool.map(failed, numbers)) if each}


def with_new_rows(store: Store, name: str, data: bytes, counts: Sequence[int]) -> bytes:
    """Replaces the rows that had errors in a part's file, and returns the bytes of the new file.

    Args:
        store: Has the file.
        name: Of the file.
        data: A file with the new rows.
        counts: How many of them are for each row that had an error.

    Raises:
        DamagedError: The file cannot be read.
        Emotion2VecError: Another command has replaced rows meanwhile.
    """
    arrow, parquet = import_extra("pyarrow", "archive"), import_extra("pyarrow.parquet", "archive")
    with store.opened(name) as file, damage_reported(f"{store.url}/{name}", DELETE):
        old = parquet.read_table(file)
    new = parquet.read_table(io.BytesIO(data))
    errors = _errors(old)
    if len(errors) != len(counts):
        raise Emotion2VecError(
            f"{store.url}/{name} was changed meanwhile, perhaps by another command: {AGAIN}"
        )
    pieces, kept, used = [], 0, 0
    for position, count in zip(errors, counts):
        pieces += [old.slice(kept, position - kept), new.slice(used, count)]
        kept, used = position + 1, used + count
    pieces.append(old.slice(kept))
    packed = io.BytesIO()
    parquet.write_table(arrow.concat_tables(pieces).cast(new.schema), packed)
    return packed.getvalue()


def finish(store: Store, plan: Plan) -> int:
    """Compares all parts with their inputs, and writes the manifest, or removes it.

    Returns:
        How many rows have errors.

    Raises:
        Emotion2VecError: A part does not have the row of each of its inputs, or another command
            has replaced the plan.
        DamagedError: A part or its inputs cannot be read.
    """
    with ThreadPoolExecutor(READERS) as pool, _no_manifest_if_it_fails(store):
        failed = sum(pool.map(lambda number: _check(store, plan, number), range(plan.parts)))
    if read_plan(store) != plan:
        raise Emotion2VecError(
            f"another command has begun {store.url} at the same time as this one: {AGAIN}"
        )
    for name in store.names(FOLDER):
        if is_abandoned(name) or (name.startswith("inputs-") and plan.id not in name):
            store.remove(f"{FOLDER}/{name}")
    summary = {"inputs": plan.inputs, "rows": plan.inputs, "failed": failed, "parts": plan.parts}
    store.put(MANIFEST, as_json({**summary, "options": plan.options, "card": plan.card}))
    return failed


@contextmanager
def _no_manifest_if_it_fails(store: Store) -> Iterator[None]:
    """Removes the manifest, which says that all is there, if a part turns out not to be."""
    try:
        yield
    except Emotion2VecError as error:
        if isinstance(error, DamagedError) or not isinstance(error, StoreError):
            store.remove(MANIFEST)
        raise


def _files(plan: Plan, number: int) -> list[str]:
    return [f"{folder}{part_name(number)}" for folder in plan.folders]


def _check(store: Store, plan: Plan, number: int) -> int:
    """Compares a part with its inputs, and returns how many of its rows have errors."""
    failed, inputs = 0, read_names(store, plan, number)
    for name in _files(plan, number):
        try:
            id, rows = _rows(store, name)
        except FileNotFoundError as error:
            raise Emotion2VecError(
                f"{store.url}/{name} is missing: with --address, all machines must see this "
                f"folder; {AGAIN}"
            ) from error
        names, expected = rows.column("file").to_pylist(), inputs
        if name.startswith(SEGMENTS):
            # A recording has a row for each segment.
            names, expected = ([key for key, _ in groupby(each)] for each in (names, inputs))
        if id != plan.id or names != expected:
            raise Emotion2VecError(
                f"{store.url}/{name} has other rows than its {plan.size(number):,} inputs: {DELETE}"
            )
        failed = len(_errors(rows))
    return failed


def _errors(rows: Any) -> Sequence[int]:
    """The positions of rows with errors."""
    errors = enumerate(rows.column("error").is_valid().to_pylist())
    return [position for position, failed in errors if failed]


def _plan_of(store: Store, name: str) -> str:
    """The id of the plan that a file's metadata has."""
    parquet = import_extra("pyarrow.parquet", "archive")
    with store.opened(name) as file, damage_reported(f"{store.url}/{name}", DELETE):
        return _id(parquet.read_schema(file))


def _rows(store: Store, name: str) -> tuple[str, Any]:
    """The id of a file's plan, and the columns that tell which rows it has."""
    parquet = import_extra("pyarrow.parquet", "archive")
    columns = ["file", "error"]
    with store.opened(name) as file, damage_reported(f"{store.url}/{name}", DELETE):
        table = parquet.read_table(file, columns=columns).select(columns)
    return _id(table.schema), table


def _id(schema: Any) -> str:
    return str((schema.metadata or {}).get(PLAN_KEY.encode(), b"").decode())
