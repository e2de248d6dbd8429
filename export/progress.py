"""What an export says while it works: one line for each step, and a sign of life in long ones."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

SILENT_SECONDS = 4.0
"""A step that takes longer says so this often."""


def say(line: str, stream: TextIO | None = None) -> None:
    """Prints one line at once."""
    print(f"export: {line}", file=stream, flush=True)


@contextlib.contextmanager
def step(name: str, every: float = SILENT_SECONDS) -> Iterator[Callable[[str], None]]:
    """Says what begins, and every few seconds that it goes on.

    Args:
        name: What is done, for example ``reading model.pt``.
        every: Seconds between two signs of life.

    Yields:
        A function that takes how far the step is, for example ``clip 3 of 17``; the next signs of
        life say that.
    """
    say(f"{name} ...")
    done, where, began = threading.Event(), "", time.monotonic()
    # What a chatty library prints may be redirected meanwhile, and these lines shall not be.
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
