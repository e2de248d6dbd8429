"""How often each part was started again, for whoever inherits the file."""

from __future__ import annotations

import json
import os

PARTS = ("triton", "gateway")


class Restarts:
    """Counts in a file that has no name, and so is nobody's to remove.

    The gateway inherits it, also the one that is started in place of another.
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
        # Numbers only grow, so that nothing of the last text stays behind.
        os.pwrite(self.file, json.dumps(self._counts).encode(), 0)
