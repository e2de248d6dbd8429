"""Measures what a file costs the decoder's sandbox."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from audio.decoding import Decoded
from audio.limits import AudioError
from audio.sandbox import Decoder
from tests.conftest import SAMPLES
from tests.fuzz.limits import LIMITS


class Measured:
    """A decoder that measures the CPU time and memory of each file."""

    def __init__(self) -> None:
        self.decoder = Decoder(LIMITS)
        self.is_well()

    def is_well(self) -> None:
        """Raises an error unless a good file is decoded; waits until the process has started."""
        clip = self.decoder.decode((SAMPLES / "short.wav").read_bytes())
        assert len(clip.samples) == 18_218

    def attempt(
        self, data: bytes, check: Callable[[Decoded], None] = lambda clip: None
    ) -> tuple[str, str, float, float]:
        """Decodes a file.

        Args:
            data: The whole file.
            check: Called with the clip, if the file is decoded.

        Returns:
            "ok" or the reason of the refusal; how the process died, or an empty text; seconds of
            CPU time; and megabytes of memory added at the peak. The last two are NaN if the
            process died or was replaced.
        """
        process = self.decoder.process
        before, start = resident(process, "VmRSS"), cpu_seconds(process)
        (process / "clear_refs").write_text("5")
        outcome, died = "ok", ""
        try:
            check(self.decoder.decode(data))
        except AudioError as error:
            outcome = error.reason
            died = str(error.__cause__ or "")
        if self.decoder.process != process:
            self.is_well()
            return outcome, died, float("nan"), float("nan")
        seconds = cpu_seconds(process) - start
        return outcome, died, seconds, (resident(process, "VmHWM") - before) / 2**20


def resident(process: Path, what: str) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise KeyError(what)


def cpu_seconds(process: Path) -> float:
    user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
