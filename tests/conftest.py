"""Shared fixtures: a tiny checkpoint, its export, and a real Triton that serves it.

PyTorch and FunASR take ten seconds to import, so only the tests that need them import them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy, copytree, ignore_patterns, rmtree

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from benchmarks.launch import PATIENCE, ROOT, SAMPLES, free_ports
from emotion2vec_client import Client
from emotion2vec_client.cli.files import SUFFIXES
from server.settings import Settings
from server.triton import Triton

WriteCheckpoint = Callable[..., Path]


def recordings() -> list[Path]:
    """The project's own sample recordings."""
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in SUFFIXES)


def pytest_configure(config: pytest.Config) -> None:
    """Makes Ctrl-C work as on a terminal: the background jobs of a shell ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    """Removes the page's folder now: pytest-xdist kills a worker that takes long to end."""
    page = sys.modules.get("gateway.page.environment")
    if page is not None:
        page.UPLOADS.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests marked ``gpu`` if PyTorch sees no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(scope="session")
def one_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short recording, for exports that need not compare many."""
    folder = tmp_path_factory.mktemp("recordings")
    soundfile.write(folder / "short.wav", speech_like(16_000), 16_000)
    return folder


@pytest.fixture(scope="session")
def write_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> WriteCheckpoint:
    """Writes a tiny checkpoint folder in the published form; see `tests.checkpoints.write`."""
    from tests import checkpoints

    def write(*changes: object, **named: object) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        checkpoints.write(folder, *changes, **named)  # type: ignore[arg-type]
        return folder

    return write


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes folders that all workers of a run share: the first worker to need one makes it."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if own.name.startswith("popen-") else own

    def get(name: str, make: Callable[[Path], None]) -> Path:
        with FileLock(base / f"{name}.lock"):
            if not (base / name).is_dir():
                unfinished = base / f"{name}.unfinished"
                # Start clean, so that a second attempt fails for the real reason.
                rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(base / name)
        return base / name

    return get


@pytest.fixture(scope="session")
def tiny_checkpoint(made_once: Callable[..., Path]) -> Path:
    """A complete checkpoint folder."""

    def make(folder: Path) -> None:
        from tests import checkpoints

        checkpoints.write(folder)

    return made_once("checkpoint", make)


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copies of the model repository without an encoder."""

    def copy() -> Path:
        target = tmp_path_factory.mktemp("served") / "model_repository"
        return copytree(
            ROOT / "model_repository",
            target,
            ignore=ignore_patterns("encoder", "voices.onnx", "__pycache__"),
        )

    return copy


@pytest.fixture(scope="session")
def exported(
    made_once: Callable[..., Path], tiny_checkpoint: Path, empty_repository: Callable[[], Path]
) -> Callable[[str], Path]:
    """Model repositories with the exported tiny checkpoint, by precision."""

    def get(precision: str) -> Path:
        def make(folder: Path) -> None:
            from export.__main__ import main

            repository = empty_repository().rename(folder / "model_repository")
            own = [f"--checkpoint={tiny_checkpoint}", f"--model-repository={repository}"]
            assert main([*own, f"--precision={precision}", "--seed=1"]) == 0

        return made_once(f"tiny-{precision}", make) / "model_repository"

    return get


@pytest.fixture(scope="session")
def tiny_repository(exported: Callable[[str], Path]) -> Path:
    """The model repository that the tests serve."""
    return exported("fp32")


@pytest.fixture
def graph_before(exported: Callable[[str], Path]) -> Callable[[str], Path]:
    """Folders with a graph that was exported earlier: writing one takes ten seconds."""

    def get(precision: str) -> Path:
        # The graph for bf16 is the same as for fp32.
        return exported(precision.replace("bf16", "fp32")) / "encoder" / "1"

    return get


@pytest.fixture
def graphs_from_before(
    graph_before: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Makes exports in this process reuse an earlier graph and compare only one short clip."""
    from export import onnx, pipeline, samples, write

    def write_onnx(encoder: object, path: Path, precision: str) -> None:
        for file in graph_before(precision).glob("model.onnx*"):
            copy(file, path.parent)

    def test_clips(folder: Path, seed: int) -> dict[str, np.ndarray]:
        return {"short": speech_like(16_000, seed)}

    # Export it before patching. Tests of other precisions must ask for theirs first.
    graph_before("fp32")
    for module in (onnx, pipeline, write):
        monkeypatch.setattr(module, "write_onnx", write_onnx)
    monkeypatch.setattr(samples, "test_clips", test_clips)


def settings_for(repository: Path) -> Settings:
    """Settings for Triton on free ports."""
    http, grpc, metrics = free_ports(3)
    return Settings(repository, http_port=http, grpc_port=grpc, metrics_port=metrics)


@contextmanager
def serving(settings: Settings) -> Iterator[Triton]:
    """A ready server. At the end it is killed, because unloading the models takes seconds."""
    with Triton(settings) as running:
        running.wait_until_ready(PATIENCE)
        yield running
        running.kill()


@pytest.fixture(scope="session")
def triton(tiny_repository: Path) -> Iterator[Triton]:
    """The real server with the tiny model."""
    with serving(settings_for(tiny_repository)) as running:
        yield running


@pytest.fixture(scope="session")
def url(triton: Triton) -> str:
    """The server's gRPC address."""
    return f"127.0.0.1:{triton.settings.grpc_port}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """The client library, connected to the server."""
    with Client(url) as connected:
        yield connected


def speech_like(samples: int, seed: int = 0) -> np.ndarray:
    """float32 [samples]: noise under a slow, random envelope, so that clips differ in character."""
    random = np.random.default_rng(seed)
    steps = random.uniform(0.02, 0.6, samples // 800 + 2)
    envelope = np.interp(np.arange(samples) / 800, np.arange(len(steps)), steps)
    tone = np.sin(np.arange(samples) * random.uniform(0.03, 0.4))
    noise = random.standard_normal(samples)
    mix = random.uniform(0, 1)
    return (envelope * (mix * tone + (1 - mix) * 0.5 * noise)).astype(np.float32)
