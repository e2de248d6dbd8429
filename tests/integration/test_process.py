"""The server's processes: how they start and end, and that they leave nothing behind."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.launch import PATIENCE, SAMPLES, below, wait_until, wait_until_gone
from benchmarks.service import Service, part_name
from server.leftovers import OWNED_PREFIX
from server.reaper import SHM
from server.triton import Triton
from tests.conftest import settings_for
from tests.scenarios.faults import OTHERS

MODELS = {"preprocess", "encoder", "emotion2vec_timeline"}


@pytest.fixture
def server(tiny_repository: Path) -> Iterator[Service]:
    with Service(tiny_repository) as running:
        yield running


def leftovers(server: Service) -> list[Path | psutil.Process]:
    """The files and processes of a server that still exist."""
    pattern = OWNED_PREFIX.format(pid=server.pid)
    files = [
        path for folder in (SHM, Path(tempfile.gettempdir())) for path in folder.glob(f"{pattern}*")
    ]
    started = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(pattern in argument for argument in process.info["cmdline"] or ())
    ]
    return [*files, *started]


def wait_for_models(server: Service, count: int) -> list[psutil.Process]:
    """Waits until Triton loads at least this many models; returns the server's processes."""
    server.wait_for("starting Triton")

    def loading() -> bool:
        return sum(part_name(each) in MODELS for each in below(server.pid)) >= count

    # The models' processes stay once they exist.
    wait_until(loading, f"{count} models are being loaded")
    return below(server.pid)


def test_on_ready_runs_a_command_and_ctrl_c_ends_every_process_and_leaves_nothing(
    tiny_repository: Path,
) -> None:
    """`make run` uses it; the command finds the server on any port."""
    command = f"{sys.executable} -m emotion2vec_client predict {SAMPLES / 'happy.wav'} --json"
    with Service(tiny_repository, f"--on-ready={command}") as server:
        server.wait_for('"emotion":')
        server.wait_for('"granularity": "utterance"')
        ends(server, signal.SIGINT, {"tritonserver", *MODELS})
        # A new user would worry about it.
        assert "error" not in server.said.lower()
        assert "fail" not in server.said.lower()


def test_the_gateway_starts_with_triton_and_sigterm_ends_both_and_leaves_nothing(
    tiny_repository: Path, tmp_path: Path
) -> None:
    with Service(tiny_repository, outputs=tmp_path) as server:
        server.wait_until_ready()
        assert f"http://localhost:{server.rest[1]}" in server.said
        assert httpx.get(f"{server.rest_url}/ready").status_code == 200
        ends(server, signal.SIGTERM, {"gateway", "tritonserver", *MODELS})


def ends(server: Service, number: signal.Signals, parts: set[str]) -> None:
    """Ends a server that has these parts with a signal, and checks that all processes end."""
    started = below(server.pid)
    assert {part_name(each) for each in started} >= parts
    assert leftovers(server)
    server.send(number)
    assert server.wait() == 0
    wait_until_gone(started)
    assert not leftovers(server)


@pytest.mark.parametrize("models", [0, 1, 3])
def test_signals_while_starting_leave_nothing(server: Service, models: int) -> None:
    """Two signals, one from make and one from the terminal, at any stage of Triton's start."""
    wait_for_models(server, models)
    server.send(signal.SIGTERM)
    server.send(signal.SIGINT)
    assert server.wait() == 0
    assert not leftovers(server)


def test_a_killed_triton_leaves_no_folder(tiny_repository: Path) -> None:
    with Triton(settings_for(tiny_repository)) as triton:
        triton.wait_until_ready(PATIENCE)
        folder = triton.environment
        # The folder is unknown if another Triton started at the same time.
        assert folder is None or folder.is_dir()
        triton.kill()
    assert folder is None or not folder.exists()


def test_a_start_removes_old_leftovers_and_an_end_leaves_other_services_alone(
    server: Service, tiny_repository: Path
) -> None:
    """Triton aborts if its own folder is gone."""
    server.wait_until_ready()
    with Service(tiny_repository) as witness:
        witness.wait_until_ready()
        started = below(server.pid)
        server.part("reaper.py").kill()
        server.send(signal.SIGKILL)
        server.wait()
        wait_until_gone(started)
        # Nothing can be asserted here: another worker's start removes the same leftovers.
        with Service(tiny_repository) as next_one:
            next_one.wait_until_ready()
            assert not leftovers(server)
            assert next_one.end() == 0
        assert witness.end() == 0
    assert "terminate called" not in witness.said


@pytest.mark.parametrize("models", [1, 3])
def test_a_launcher_killed_while_starting_leaves_nothing(server: Service, models: int) -> None:
    """The launcher is killed while Triton loads its first or its last model."""
    killed(server, wait_for_models(server, models))


def test_a_killed_launcher_takes_the_gateway_with_it_and_leaves_nothing(
    tiny_repository: Path, tmp_path: Path
) -> None:
    with Service(tiny_repository, outputs=tmp_path) as server:
        server.wait_until_ready()
        started = below(server.pid)
        assert "gateway" in {part_name(each) for each in started}
        killed(server, started)


def killed(server: Service, started: list[psutil.Process]) -> None:
    """Waits until all processes of a killed server have ended, and checks that nothing is left."""
    server.send(signal.SIGKILL)
    wait_until_gone(started)
    server.wait()
    wait_until(lambda: not leftovers(server), "nothing of it is left")


def test_a_model_that_cannot_load_ends_the_start(tiny_repository: Path, tmp_path: Path) -> None:
    assert OTHERS["corrupt model at the start"](tiny_repository, tmp_path).lost == []


def test_a_failing_gateway_is_reported_before_triton_starts(tiny_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Service(tiny_repository, "--gateway", port=port) as server:
            assert server.wait() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in server.said
    assert "starting Triton" not in server.said
