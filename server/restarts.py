"""Restart counts, shared with the gateway through an inherited file in memory."""

from __future__ import annotations

import json
import os

PARTS = ("triton", "gateway")


class Restarts:
    """Counts in a file without a name, which nothing has to remove.

    Each gateway inherits it, including one that replaces another.
    """

    def __init__(self) -> None:
        self._counts = dict.fromkeys(PARTS, 0)
        self.file = os.memfd_create("restarts")
        self._write()

    def add(self, part: str) -> None:
        """Counts a restart of one of `PARTS`."""
        self._counts[part] += 1
        self._write()

    def close(self) -> None:
        """Closes the file."""
        os.close(self.file)

    def _write(self) -> None:
        # Numbers only grow, so the new text covers the old.
        os.pwrite(self.file, json.dumps(self._counts).encode(), 0)
