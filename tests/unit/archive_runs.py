"""A small archive for tests: its names, its command, and what was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from pyarrow import parquet

PART = 3
COMMAND = ["archive", "clips", "-o", "out", "--part-size", str(PART)]
NAMES = [f"clips/{number}.wav" for number in range(10)]
PARTS = -(-len(NAMES) // PART)


def rows(folder: str = "out") -> list[dict[str, Any]]:
    """The rows of all parts, as any reader of Parquet folders sees them."""
    found: list[dict[str, Any]] = parquet.read_table(folder).to_pylist()
    return found


def files(folder: str = "out") -> list[str]:
    return [row["file"] for row in rows(folder)]


@pytest.fixture(autouse=True)
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """A filesystem in memory, empty, which stands for any store."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()
