"""The plan of an archive: its inputs in numbered parts, kept in the folder of the results.

The plan is there once all inputs are, and the first one stays: of two commands that begin the same
archive at once, both work by the plan that was written first. Inputs are of one plan, by its id.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Callable

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.stores import Store, StoreError
from emotion2vec_client.errors import Emotion2VecError

# Readers of Parquet folders skip names that start with an underscore.
FOLDER = "_archive"
SEGMENTS = "_segments"
PLAN = f"{FOLDER}/plan.json"

DECIDE = ("sha256", "weights", "embed_dim", "labels", "precision")
"""Fields of the model card that decide the answers; others differ for each export."""

COLUMNS = ("name", "path", "start", "size", "problem")
"""Of the inputs."""


@dataclass(frozen=True)
class Plan:
    """What an archive is made of.

    Attributes:
        id: Random.
        options: Sources and options of the command that began it.
        card: The model card.
        part_size: Inputs in a part; the last one may have fewer.
        inputs: Number of inputs.
    """

    id: str
    options: Mapping[str, Any]
    card: Mapping[str, Any]
    part_size: int
    inputs: int

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.inputs // self.part_size)

    @property
    def folders(self) -> Sequence[str]:
        """Folders with a file for each part, in the order in which they are written."""
        return (f"{SEGMENTS}/", "") if self.options.get("timeline") else ("",)

    def size(self, number: int) -> int:
        """Inputs in a part."""
        return min(self.part_size, self.inputs - number * self.part_size)


class DamagedError(StoreError):
    """A file of an archive is missing, cut off, or has other content."""


@contextmanager
def damage_reported(path: str, then: str) -> Iterator[None]:
    """Says which file is damaged, and what to do then.

    Raises:
        DamagedError: The file cannot be understood.
    """
    try:
        yield
    except OSError as error:
        # Where the bytes cannot be decompressed, pyarrow raises this class, without a number.
        if type(error) is not OSError or error.errno is not None:
            raise
        raise DamagedError(f"{path} is damaged: {then} ({error})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{path} is damaged: {then} ({error})") from error


def read_plan(store: Store) -> Plan | None:
    """The plan in a store, None if no archive was begun there.

    Raises:
        Emotion2VecError: The store has parts of something else.
        DamagedError: The plan cannot be understood.
    """
    try:
        with damage_reported(f"{store.url}/{PLAN}", _begin_anew(store)):
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

    Returns the plan that the store then has: another command may have been first.

    Args:
        store: Gets the plan.
        recordings: The inputs.
        options: See `Plan`.
        card: See `Plan`.
        part_size: See `Plan`.
        listed: Called with the number of inputs so far.
    """
    id, inputs = uuid.uuid4().hex, 0
    source = iter(recordings)
    while part := list(islice(source, part_size)):
        store.put(_inputs(id, inputs // part_size), _packed(part))
        inputs += len(part)
        listed(inputs)
    store.create(PLAN, as_json(asdict(Plan(id, options, card, part_size, inputs))))
    plan = read_plan(store)
    assert plan is not None
    return plan


def read_inputs(store: Store, plan: Plan, number: int) -> list[Recording]:
    """The inputs of a part.

    Raises:
        DamagedError: They are missing, or cannot be read.
    """
    rows = _input_table(store, plan, number).to_pylist()
    return [Recording(**{**row, "path": os.fsdecode(row["path"])}) for row in rows]


def read_names(store: Store, plan: Plan, number: int) -> list[str]:
    """The names of a part's inputs, as its rows have them; raises the same."""
    names: list[str] = _input_table(store, plan, number, ["name"]).column("name").to_pylist()
    return names


def differences(plan: Plan, options: Mapping[str, Any], card: Mapping[str, Any]) -> Iterator[str]:
    """In which sources, options or fields of the model card a command differs from the plan."""
    decide = DECIDE if card.get("sha256") else (*DECIDE, "checkpoint", "revision")
    for before, now, of, names in (
        (plan.options, options, "", {*plan.options, *options}),
        (plan.card, card, "the model's ", decide),
    ):
        for name in sorted(names):
            # As they come out of JSON.
            value = json.loads(json.dumps(now.get(name)))
            was = before.get(name)
            if value == was:
                continue
            if isinstance(value, list) and isinstance(was, list) and sorted(value) != sorted(was):
                # What both have would hide the difference.
                both = [each for each in value if each in was]
                value, was = ([each for each in all if each not in both] for all in (value, was))
            yield f"{of}{name} was {_short(was)} and is {_short(value)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _inputs(id: str, number: int) -> str:
    return f"{FOLDER}/inputs-{id}-{number:05}.parquet"


def _input_table(store: Store, plan: Plan, number: int, columns: Sequence[str] = COLUMNS) -> Any:
    parquet = import_extra("pyarrow.parquet", "archive")
    name = _inputs(plan.id, number)
    try:
        data = io.BytesIO(store.read(name))
    except FileNotFoundError as error:
        raise DamagedError(f"{store.url}/{name} is missing: {_begin_anew(store)}") from error
    with damage_reported(f"{store.url}/{name}", _begin_anew(store)):
        return parquet.read_table(data, columns=list(columns)).select(list(columns))


def _begin_anew(store: Store) -> str:
    return (
        "which recordings its parts have is only known from it, so delete all of "
        f"{store.url}, and run the same command again to begin anew"
    )


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


def as_json(content: Any) -> bytes:
    """A file that people may read too."""
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
