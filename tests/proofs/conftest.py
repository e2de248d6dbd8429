"""Fixtures of the proofs: the installed model, and the files for their tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "tests" / "proofs" / "results"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The model repository, with the model that `make export` installed."""
    found = ROOT / "model_repository"
    assert (found / "encoder" / "config.pbtxt").is_file(), "there is no model: run `make export`"
    return found


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a text, and appends it to the proof's results file, which the docs quote."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{request.node.name.removeprefix('test_')}.md"
    file.unlink(missing_ok=True)

    def write(text: str) -> None:
        print(text, flush=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"{text}\n")

    return write
