"""A long step prints its progress, and stops when it ends."""

from __future__ import annotations

import contextlib
import io
import sys
import threading

import pytest

from export import progress


class Console(io.StringIO):
    """Signals that progress was printed."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = threading.Event()

    def write(self, text: str) -> int:
        if "... clip" in text:
            self.alive.set()
        return super().write(text)


def test_a_long_step_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console()
    monkeypatch.setattr(sys, "stdout", console)
    with progress.step("comparing", every=0.001) as reached:
        reached("clip 3 of 17")
        # The output of PyTorch's exporter is hidden in this way, because it does not help users.
        with contextlib.redirect_stdout(io.StringIO()) as hidden:
            console.alive.clear()
            assert console.alive.wait(60)
    lines = console.getvalue().splitlines()
    assert lines[0] == "export: comparing ..."
    assert lines[-1].startswith("export: ... clip 3 of 17 (")
    assert not hidden.getvalue()
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_step_that_fails_ends_its_progress() -> None:
    with pytest.raises(RuntimeError), progress.step("failing", every=60):
        raise RuntimeError
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
