"""Fixtures: a checkpoint, the two hubs that have it, and a user who downloads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from export.published import CHECKPOINTS, LARGE, TOKENS_TEXT
from tests.export.download.checkpoint import written
from tests.export.download.fetching import Home
from tests.hubs import LoopbackHub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint on the hubs, without real weights."""
    return written(tmp_path_factory.mktemp("checkpoint"), TOKENS_TEXT)


@pytest.fixture
def hub(folder: Path) -> Iterator[LoopbackHub]:
    """Both hubs, with all published checkpoints."""
    names = [name for checkpoint in CHECKPOINTS for name in checkpoint.names.values()]
    pinned = dict.fromkeys(LARGE.revisions.values(), folder)
    with LoopbackHub({name: {"ab" * 20: folder, **pinned} for name in names}) as running:
        yield running


@pytest.fixture
def home(hub: LoopbackHub, tmp_path: Path) -> Home:
    return Home(tmp_path, dict(hub.environment))
