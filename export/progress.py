"""Reports the progress of an export: a line for each step, and more lines during long steps."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

SILENT_SECONDS = 4.0
"""Seconds between two lines of a long step."""


def say(line: str, stream: TextIO | None = None) -> None:
    """Prints one line at once."""
    print(f"export: {line}", file=stream, flush=True)


@contextlib.contextmanager
def step(name: str, every: float = SILENT_SECONDS) -> Iterator[Callable[[str], None]]:
    """Prints a line when a step begins, and another every few seconds while it runs.

    Args:
        name: What the step does, for example ``reading model.pt``.
        every: Seconds between two lines.

    Yields:
        A function that takes the position of the step, for example ``clip 3 of 17``; the next
        lines show it.
    """
    say(f"{name} ...")
    done, where, began = threading.Event(), "", time.monotonic()
    # The caller may redirect stdout to silence a library; these lines must still appear.
    stream = sys.stdout

    def reached(position: str) -> None:
        nonlocal where
        where = position

    def watch() -> None:
        while not done.wait(every):
            say(f"... {where or f'still {name}'} ({time.monotonic() - began:.0f} s)", stream)

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield reached
    finally:
        done.set()
        watcher.join()
