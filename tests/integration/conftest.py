"""A gateway in front of the tiny model, and models that hang."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from benchmarks.service import part_name
from server.triton import Triton
from tests.integration.gateways import Gateway


@pytest.fixture(scope="session")
def gateway(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs")) as running:
        yield running


def parts(triton: Triton, name: str) -> list[psutil.Process]:
    """The server's processes of a name."""
    children = psutil.Process(triton.pid).children(recursive=True)
    found = [child for child in children if part_name(child) == name]
    assert found, name
    return found


@contextmanager
def held(processes: list[psutil.Process]) -> Iterator[list[psutil.Process]]:
    """Processes that hang until they are resumed."""
    for each in processes:
        each.suspend()
    try:
        yield processes
    finally:
        for each in processes:
            each.resume()


@pytest.fixture
def decoders(triton: Triton) -> Iterator[list[psutil.Process]]:
    """What decodes clips, and hangs until it is resumed.

    Not the model's own processes: Triton takes one for dead when it has hung for a second.
    """
    models = {each.pid for each in parts(triton, "preprocess")}
    own = [each for each in parts(triton, "sandbox.py") if each.ppid() in models]
    assert len(own) == len(models)
    with held(own) as found:
        yield found


@pytest.fixture
def timeline_model(triton: Triton) -> Iterator[psutil.Process]:
    """What makes timelines, and hangs until it is resumed."""
    with held(parts(triton, "emotion2vec_timeline")) as [found]:
        yield found
