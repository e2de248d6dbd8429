"""How a service that no longer answers is told from one that is only busy."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server import health
from server.health import Health


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Health]:
    """Watches a Triton that takes a clip and never answers, until the clip has waited too long."""
    monkeypatch.setattr(health, "CANARY_SECONDS", 0.01)
    monkeypatch.setattr(health, "HANG_SECONDS", 0.05)
    monkeypatch.setattr(health, "_state", lambda pid: "S")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        triton: Any = SimpleNamespace(pid=os.getpid(), settings=SimpleNamespace(http_url=url))
        watched = Health(triton)
        watched.stubs = {1: "encoder"}
        while watched._canary.waiting_seconds() < 2 * health.HANG_SECONDS:
            time.sleep(0.01)
        yield watched
        watched.close()


def test_an_unanswered_clip_is_a_hang_if_nothing_computes(
    waiting: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_cpu_seconds", lambda pid: 0.0)
    assert "has answered nothing" in str(waiting.trouble())


def test_a_busy_model_does_not_hang(waiting: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    used = itertools.count(1)
    monkeypatch.setattr(health, "_cpu_seconds", lambda pid: float(next(used)))
    assert [waiting.trouble() for _ in range(3)] == [None] * 3


def test_a_thread_that_ends_meanwhile_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the listing of a process's threads and a look at one, it may be gone."""
    listed = Path.iterdir

    def with_one_that_has_ended(folder: Path) -> Iterator[Path]:
        yield folder / "4194304"
        yield from listed(folder)

    monkeypatch.setattr(Path, "iterdir", with_one_that_has_ended)
    assert health._stubs_of(os.getpid()) == {}
