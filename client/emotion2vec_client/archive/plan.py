"""The plan of an archive: its inputs in numbered parts, kept in the folder of the results.

The plan is written once, and is there once all inputs are. Part 17 of the inputs becomes part 17 of
the results, whose file appears in one step: a part whose file exists is done. So a run that is
killed anywhere is continued by doing the parts whose files are missing.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Callable

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.stores import UNFINISHED, Store
from emotion2vec_client.errors import Emotion2VecError

# Readers of Parquet folders skip names that start with an underscore.
FOLDER = "_archive"
SEGMENTS = "_segments"
PLAN = f"{FOLDER}/plan.json"
MANIFEST = f"{FOLDER}/manifest.json"

READERS = 16
"""Parts whose counts are read at once."""


@dataclass(frozen=True)
class Plan:
    """What an archive is made of.

    Attributes:
        options: Sources and options of the command that began it.
        card: The model card.
        part_size: Inputs in a part; the last one may have fewer.
        inputs: Number of inputs.
    """

    options: Mapping[str, Any]
    card: Mapping[str, Any]
    part_size: int
    inputs: int

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.inputs // self.part_size)

    def size(self, number: int) -> int:
        """Inputs in a part."""
        return min(self.part_size, self.inputs - number * self.part_size)


def read_plan(store: Store) -> Plan | None:
    """The plan in a store, None if no archive was begun there.

    Raises:
        Emotion2VecError: The store has parts of something else.
    """
    try:
        return Plan(**json.loads(store.read(PLAN)))
    except FileNotFoundError:
        pass
    if any(name.endswith(".parquet") for name in store.names()):
        raise Emotion2VecError(
            f"{store.url} has Parquet files that are not of an archive: choose another folder"
        )
    return None


def write_plan(
    store: Store,
    recordings: Iterable[Recording],
    options: Mapping[str, Any],
    card: Mapping[str, Any],
    part_size: int,
    listed: Callable[[int], None],
) -> Plan:
    """Cuts the inputs into parts, and writes them and the plan. Keeps one part in memory.

    Args:
        store: Gets the plan.
        recordings: The inputs.
        options: See `Plan`.
        card: See `Plan`.
        part_size: See `Plan`.
        listed: Called with the number of inputs so far.
    """
    inputs = 0
    source = iter(recordings)
    while part := list(islice(source, part_size)):
        store.put(_inputs(inputs // part_size), _packed(part))
        inputs += len(part)
        listed(inputs)
    plan = Plan(options, card, part_size, inputs)
    store.put(PLAN, _json(asdict(plan)))
    return plan


def read_inputs(store: Store, number: int) -> list[Recording]:
    """The inputs of a part."""
    parquet = import_extra("pyarrow.parquet", "archive")
    rows = parquet.read_table(io.BytesIO(store.read(_inputs(number)))).to_pylist()
    return [Recording(**{**row, "path": os.fsdecode(row["path"])}) for row in rows]


def part_name(number: int) -> str:
    """Name of a part's file."""
    return f"part-{number:05}.parquet"


def missing(store: Store, plan: Plan) -> list[int]:
    """The numbers of the parts that are not done."""
    done = set(store.names())
    return [number for number in range(plan.parts) if part_name(number) not in done]


def finish(store: Store, plan: Plan) -> int:
    """Counts the rows of all parts, writes the manifest, and returns how many rows have errors.

    Raises:
        Emotion2VecError: A part does not have a row for each of its inputs.
    """
    with ThreadPoolExecutor(READERS) as pool:
        counts = list(pool.map(lambda number: _counts(store, number), range(plan.parts)))
    for number, (rows, _) in enumerate(counts):
        if rows != plan.size(number):
            raise Emotion2VecError(
                f"{store.url}/{part_name(number)} has {rows:,} rows for {plan.size(number):,} "
                "inputs: delete it, and run the same command again"
            )
    failed = sum(errors for _, errors in counts)
    for name in store.names(FOLDER):
        if name.endswith(UNFINISHED):
            store.remove(f"{FOLDER}/{name}")
    summary = {"inputs": plan.inputs, "rows": plan.inputs, "failed": failed, "parts": plan.parts}
    store.put(MANIFEST, _json({**summary, "options": plan.options, "card": plan.card}))
    return failed


def differences(plan: Plan, options: Mapping[str, Any], card: Mapping[str, Any]) -> Iterator[str]:
    """In which sources, options or fields of the model card a command differs from the plan."""
    for before, now, of in ((plan.options, options, ""), (plan.card, card, "the model's ")):
        for name in sorted({*before, *now}):
            # As they come out of JSON.
            value = json.loads(json.dumps(now.get(name)))
            if value != before.get(name):
                yield f"{of}{name} was {_short(before.get(name))} and is {_short(value)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _inputs(number: int) -> str:
    return f"{FOLDER}/inputs-{number:05}.parquet"


def _packed(recordings: Sequence[Recording]) -> bytes:
    arrow, parquet = import_extra("pyarrow", "archive"), import_extra("pyarrow.parquet", "archive")
    columns = {
        "name": ([printable(each.name) for each in recordings], arrow.string()),
        # Names of files may be any bytes.
        "path": ([os.fsencode(each.path) for each in recordings], arrow.binary()),
        "start": ([each.start for each in recordings], arrow.int64()),
        "size": ([each.size for each in recordings], arrow.int64()),
        "problem": ([printable(each.problem) for each in recordings], arrow.string()),
    }
    table = arrow.table({name: arrow.array(*column) for name, column in columns.items()})
    packed = io.BytesIO()
    parquet.write_table(table, packed, compression="zstd")
    return packed.getvalue()


def printable(name: str) -> str:
    """A name as valid Unicode."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _counts(store: Store, number: int) -> tuple[int, int]:
    """Rows of a part, and how many of them have errors."""
    parquet = import_extra("pyarrow.parquet", "archive")
    try:
        with store.opened(part_name(number)) as file:
            errors = parquet.read_table(file, columns=["error"]).column("error")
    except FileNotFoundError as error:
        raise Emotion2VecError(
            f"{store.url}/{part_name(number)} is missing: with --address, all machines must see "
            "this folder; run the same command again"
        ) from error
    return len(errors), len(errors) - errors.null_count


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
