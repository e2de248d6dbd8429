"""Fixtures: a gateway in front of the tiny model, and decoders that hang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psutil
import pytest

from benchmarks.launch import SAMPLES
from benchmarks.service import part_name
from emotion2vec_client import Client
from server.triton import Triton
from tests.integration.gateways import Gateway

HoldTimelines = Callable[[], AbstractContextManager[list[psutil.Process]]]


@pytest.fixture(scope="session")
def gateway(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs")) as running:
        yield running


def sandboxes(triton: Triton, model: str) -> list[psutil.Process]:
    """The processes in which a model decodes.

    Tests stop these and not the model's own, which Triton considers dead after a second.
    """
    children = psutil.Process(triton.pid).children(recursive=True)
    models = {child.pid for child in children if part_name(child) == model}
    assert models, model
    return [
        child
        for child in children
        if part_name(child) == "audio.sandbox" and child.ppid() in models
    ]


@contextmanager
def held(processes: list[psutil.Process]) -> Iterator[list[psutil.Process]]:
    """Stops processes until the block ends."""
    assert processes
    for each in processes:
        each.suspend()
    try:
        yield processes
    finally:
        for each in processes:
            # A process whose work was cancelled has ended.
            with suppress(psutil.NoSuchProcess):
                each.resume()


@pytest.fixture
def decoders(triton: Triton) -> Iterator[list[psutil.Process]]:
    """The decoders of clips, stopped until they are resumed."""
    with held(sandboxes(triton, "preprocess")) as found:
        yield found


@pytest.fixture
def hold_timelines(triton: Triton, client: Client) -> HoldTimelines:
    """Makes the next timeline hang for the length of a ``with`` block."""

    def hold() -> AbstractContextManager[list[psutil.Process]]:
        # The thread that answers this timeline starts a decoder, and also gets the next one.
        client.timeline(SAMPLES / "happy.wav")
        return held(sandboxes(triton, "emotion2vec_timeline"))

    return hold
