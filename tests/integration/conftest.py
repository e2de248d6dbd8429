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


@contextmanager
def held(triton: Triton, model: str) -> Iterator[list[psutil.Process]]:
    """The processes in which a model of the server runs; they hang until they are resumed."""
    children = psutil.Process(triton.pid).children(recursive=True)
    found = [child for child in children if part_name(child) == model]
    assert found
    for each in found:
        each.suspend()
    try:
        yield found
    finally:
        for each in found:
            each.resume()


@pytest.fixture
def decoders(triton: Triton) -> Iterator[list[psutil.Process]]:
    """What decodes clips, and hangs until it is resumed."""
    with held(triton, "preprocess") as found:
        yield found


@pytest.fixture
def timeline_model(triton: Triton) -> Iterator[psutil.Process]:
    """What makes timelines, and hangs until it is resumed."""
    with held(triton, "emotion2vec_timeline") as [found]:
        yield found
