"""The server as a process: how it starts, how it ends, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotion2vec_client import Client
from server.triton import SHM, SHM_PREFIX, Triton
from tests.conftest import READY_SECONDS, ROOT, SAMPLES, settings_for

END_SECONDS = 30


class Server:
    """``python -m server`` with the tiny model."""

    def __init__(self, repository: Path, *extra: str):
        self.settings = settings_for(repository)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "server",
                "--model-repository",
                str(repository),
                f"--http-port={self.settings.http_port}",
                f"--grpc-port={self.settings.grpc_port}",
                f"--metrics-port={self.settings.metrics_port}",
                *extra,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, text: str) -> str:
        """Its output up to the line with ``text``."""
        assert self.process.stdout
        seen = ""
        for line in self.process.stdout:
            seen += line
            if text in line:
                return seen
        raise AssertionError(f"the server ended without saying {text!r}:\n{seen}")

    def shared_memory(self) -> list[Path]:
        return list(SHM.glob(SHM_PREFIX.format(pid=self.process.pid) + "*"))


@pytest.fixture
def server(tiny_repository: Path) -> Iterator[Server]:
    running = Server(tiny_repository)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
    running.process.communicate(timeout=END_SECONDS)


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [int(child) for child in children]
    for child in list(found):
        found += descendants(child)
    return found


def wait_until_gone(pids: list[int]) -> None:
    """Returns when none of the processes lives, fails if one stays."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(handle) as file:
            import select

            ready, _, _ = select.select([file], [], [], END_SECONDS)
        assert ready, f"process {pid} lives on"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process_and_leaves_nothing(
    server: Server, end: signal.Signals
) -> None:
    server.read_until("ready on gRPC")
    pids = descendants(server.process.pid)
    assert len(pids) >= 4  # tritonserver, two preprocess stubs, one encoder stub
    assert server.shared_memory()
    server.process.send_signal(end)
    assert server.process.wait(END_SECONDS) == 0
    wait_until_gone(pids)
    assert not server.shared_memory()


def test_a_signal_while_starting_ends_it_as_well(server: Server) -> None:
    server.read_until("starting Triton")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(END_SECONDS) == 0
    assert not server.shared_memory()


def test_a_killed_launcher_takes_triton_with_it(server: Server, tiny_repository: Path) -> None:
    server.read_until("ready on gRPC")
    pids = descendants(server.process.pid)
    server.process.kill()
    wait_until_gone(pids)
    # What SIGKILL leaves in shared memory, the next start removes.
    with Triton(settings_for(tiny_repository)) as triton:
        triton.wait_until_ready(READY_SECONDS)
        assert not server.shared_memory()


def test_a_killed_tritonserver_ends_the_launcher_with_an_error(server: Server) -> None:
    server.read_until("ready on gRPC")
    pids = descendants(server.process.pid)
    [tritonserver] = (
        Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    )
    os.kill(int(tritonserver), signal.SIGKILL)
    output, _ = server.process.communicate(timeout=END_SECONDS)
    assert server.process.returncode == 1
    assert "Triton ended unexpectedly (signal SIGKILL)" in output
    wait_until_gone(pids)
    assert not server.shared_memory()


def test_a_model_that_cannot_load_ends_the_start(tiny_repository: Path, tmp_path: Path) -> None:
    from shutil import copytree

    repository = copytree(tiny_repository, tmp_path / "model_repository")
    (repository / "encoder" / "1" / "model.onnx").write_bytes(b"not a graph")
    server = Server(repository)
    output, _ = server.process.communicate(timeout=READY_SECONDS)
    assert server.process.returncode == 1
    assert "cannot load" in output
    assert "Triton ended while starting" in output
    assert not server.shared_memory()


def test_the_first_prediction_is_printed_when_ready(tiny_repository: Path) -> None:
    settings = settings_for(tiny_repository)
    server = Server(tiny_repository)
    try:
        before = server.read_until("ready on gRPC")
        # A newcomer's screen: nothing that looks like an error.
        assert "error" not in before.lower()
        with Client(f"127.0.0.1:{server.settings.grpc_port}") as client:
            client.wait_until_ready(5)
            assert client.predict(SAMPLES / "happy.wav").emotion
    finally:
        server.process.terminate()
        server.process.communicate(timeout=END_SECONDS)
    assert settings.http_port != server.settings.http_port


def test_on_ready_runs_a_command(tiny_repository: Path) -> None:
    server = Server(tiny_repository, "--on-ready", "echo recognised")
    try:
        assert "$ echo recognised" in server.read_until("recognised\n")
    finally:
        server.process.terminate()
        server.process.communicate(timeout=END_SECONDS)
