"""Shared fixtures: a tiny checkpoint, its export, and a real Triton that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns

import numpy as np
import pytest
import torch

from benchmarks.launch import ROOT, SAMPLES, free_ports
from emotion2vec_client import Client
from emotion2vec_client.cli.files import SUFFIXES
from export import replica
from export.__main__ import main as export_main
from export.checkpoint import read_config
from export.published import TOKENS_TEXT
from export.replica import Size
from server.triton import Settings, Triton

TINY = Size(
    embed_dim=64,
    heads=4,
    prenet_depth=1,
    depth=2,
    mlp_ratio=2.0,
    frontend_channels=16,
    decoder_dim=32,
)
READY_SECONDS = 120

WriteCheckpoint = Callable[..., Path]


def recordings() -> list[Path]:
    """The project's own sample recordings."""
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in SUFFIXES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked ``gpu`` where PyTorch sees none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(scope="session")
def write_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> WriteCheckpoint:
    """Writes a tiny checkpoint folder in the published form, with anything in it changed."""

    def write(
        size: Size = TINY,
        tokens: str = TOKENS_TEXT,
        change_config: Callable[[dict], None] = lambda config: None,
        change_state: Callable[[dict], None] = lambda state: None,
        change_members: Callable[[dict], None] = lambda members: None,
    ) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        config = replica.config(size)
        read = read_config(replica.config_text(config))
        members = replica.stored_members(replica.draw_state(read["model_conf"]))
        change_config(config)
        change_state(members["model"])
        change_members(members)
        replica.write_folder(folder, config, members, tokens)
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_checkpoint(write_checkpoint: WriteCheckpoint) -> Path:
    """A complete checkpoint folder."""
    return write_checkpoint()


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copies of the model repository without an encoder."""

    def copy() -> Path:
        target = tmp_path_factory.mktemp("served") / "model_repository"
        return copytree(
            ROOT / "model_repository", target, ignore=ignore_patterns("encoder", "__pycache__")
        )

    return copy


@pytest.fixture(scope="session")
def tiny_repository(tiny_checkpoint: Path, empty_repository: Callable[[], Path]) -> Path:
    """A model repository with the tiny checkpoint exported into it."""
    repository = empty_repository()
    arguments = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    assert export_main([*arguments, "--precision", "fp32", "--seed", "1"]) == 0
    return repository


def settings_for(repository: Path) -> Settings:
    """Triton on free ports."""
    http, grpc, metrics = free_ports(3)
    return Settings(repository, http_port=http, grpc_port=grpc, metrics_port=metrics)


@pytest.fixture(scope="session")
def triton(tiny_repository: Path) -> Iterator[Triton]:
    """The real server with the tiny model."""
    with Triton(settings_for(tiny_repository)) as running:
        running.wait_until_ready(READY_SECONDS)
        yield running


@pytest.fixture(scope="session")
def url(triton: Triton) -> str:
    """Where the server takes gRPC."""
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
