"""A long step gives signs of life, and nothing else prints after it has ended."""

from __future__ import annotations

import threading

import pytest

from export import progress


def test_a_long_step_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, alive = [], threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if "still" in line:
            alive.set()

    monkeypatch.setattr(progress, "say", say)
    with progress.step("comparing", every=0.001) as reached:
        reached("clip 3 of 17")
        assert alive.wait(60)
    assert lines[0] == "comparing ..."
    assert lines[-1].startswith("... still comparing, clip 3 of 17 (")
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_step_that_fails_ends_its_signs_of_life() -> None:
    with pytest.raises(RuntimeError), progress.step("failing", every=60):
        raise RuntimeError
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
