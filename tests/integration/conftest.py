"""Fixtures: a gateway in front of the tiny model, and decoders and an encoder that hang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import numpy as np
import psutil
import pytest

from audio.decoding import decode
from benchmarks.launch import SAMPLES
from benchmarks.service import part_name
from emotion2vec_client import Client
from export import contract
from server.triton import Triton
from tests.conftest import serving, settings_for
from tests.fuzz.limits import LIMITS
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


GATED = """
import json
import time
from pathlib import Path
from server.backends.onnxruntime import model

class TritonPythonModel(model.TritonPythonModel):
    def initialize(self, args):
        config = json.loads(args["model_config"]) | dict(default_model_filename="model.onnx")
        super().initialize(args | dict(model_config=json.dumps(config)))

    def execute(self, requests):
        while Path({closed!r}).exists():
            time.sleep(0.01)
        return super().execute(requests)
"""


@dataclass(frozen=True)
class Gated:
    """A server whose encoder computes nothing while a file exists, and queues 16 requests.

    Its process must not be stopped instead: Triton considers a process dead after a second.
    """

    triton: Triton
    closed: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the encoder wait until the block ends."""
        self.closed.touch()
        try:
            yield
        finally:
            self.closed.unlink()


@pytest.fixture(scope="session")
def gated(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    folder = tmp_path_factory.mktemp("gated")
    encoder = copytree(tiny_repository, folder / "model_repository") / "encoder"
    config = (encoder / "config.pbtxt").read_text("utf-8")
    for old, new in (
        ('backend: "onnxruntime"', 'backend: "python"'),
        (f"max_queue_size: {contract.QUEUE_SIZE}", "max_queue_size: 16"),
    ):
        assert old in config
        config = config.replace(old, new)
    (encoder / "config.pbtxt").write_text(config, "utf-8")
    closed = folder / "closed"
    (encoder / "1" / "model.py").write_text(GATED.format(closed=str(closed)), "utf-8")
    with serving(settings_for(encoder.parent)) as triton:
        yield Gated(triton, closed)


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


@pytest.fixture(scope="session")
def story() -> np.ndarray:
    """A recording with pauses, float32 [n] at 16 kHz."""
    return decode((SAMPLES / "story.ogg").read_bytes(), LIMITS).samples
