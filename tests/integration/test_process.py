"""The server as a process: how it starts, how it ends, and what it leaves."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree

import pytest

from server.health import STUB
from server.triton import OWNED_PREFIX, SHM, Triton
from tests.conftest import READY_SECONDS, ROOT, SAMPLES, free_ports, settings_for

END_SECONDS = 30


class Server:
    """``python -m server`` with the tiny model, ended with the ``with`` block."""

    def __init__(self, repository: Path, *extra: str, **environment: str):
        self.settings = settings_for(repository)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server", "--model-repository", str(repository)),
                f"--http-port={self.settings.http_port}",
                f"--grpc-port={self.settings.grpc_port}",
                f"--metrics-port={self.settings.metrics_port}",
                *extra,
            ],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=END_SECONDS)

    def read_until(self, text: str) -> str:
        """Its output up to the line with ``text``."""
        assert self.process.stdout
        seen = ""
        for line in self.process.stdout:
            seen += line
            if text in line:
                return seen
        raise AssertionError(f"the server ended without saying {text!r}:\n{seen}")

    def leftovers(self) -> list[Path]:
        """What it has outside its memory."""
        pattern = OWNED_PREFIX.format(pid=self.process.pid) + "*"
        return [*SHM.glob(pattern), *Path(tempfile.gettempdir()).glob(pattern)]


@pytest.fixture
def server(tiny_repository: Path) -> Iterator[Server]:
    with Server(tiny_repository) as running:
        yield running


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started; none where it has ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def processes() -> list[int]:
    """All processes of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_line(pid: int) -> bytes:
    """What a process was started with; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def tritonserver_of(pid: int) -> int:
    """The tritonserver that ``pid`` started."""
    [found] = [each for each in children(pid) if b"tritonserver" in command_line(each)]
    return found


def stub_of(pid: int, model: str) -> int:
    """A process below ``pid`` in which the model runs."""
    found = [
        each
        for each in descendants(pid)
        if STUB in command_line(each) and f"/{model}/" in command_line(each).decode()
    ]
    assert found, f"no process runs {model}"
    return found[0]


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns when the condition holds, fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s: not {what}"
        time.sleep(0.05)


def wait_for_stubs(server: Server, count: int) -> None:
    """Returns when Triton loads so many of its models at least, or has loaded them."""
    server.read_until("starting Triton")

    def loading() -> bool:
        below = descendants(server.process.pid)
        return sum(STUB in command_line(pid) for pid in below) >= count

    wait_for(loading, READY_SECONDS, f"{count} models being loaded")


def wait_until_gone(pids: list[int]) -> None:
    """Returns when none of the processes lives, fails if one stays."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(handle) as file:
            ended, _, _ = select.select([file], [], [], END_SECONDS)
        assert ended, f"process {pid} lives on"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process_and_leaves_nothing(
    server: Server, end: signal.Signals
) -> None:
    server.read_until("ready on gRPC")
    pids = descendants(server.process.pid)
    assert len(pids) >= 4  # tritonserver, two preprocess stubs, one encoder stub
    assert server.leftovers()
    server.process.send_signal(end)
    assert server.process.wait(END_SECONDS) == 0
    wait_until_gone(pids)
    assert not server.leftovers()


def test_a_signal_while_starting_ends_it_as_well(server: Server) -> None:
    server.read_until("starting Triton")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(END_SECONDS) == 0
    assert not server.leftovers()


@pytest.mark.parametrize("stubs", [0, 1, 3])
def test_signals_while_starting_leave_nothing(server: Server, stubs: int) -> None:
    """Two of them, as make and the terminal send them, at any stage of Triton's start."""
    wait_for_stubs(server, stubs)
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(END_SECONDS) == 0
    own = OWNED_PREFIX.format(pid=server.process.pid).encode()
    assert not [pid for pid in processes() if own in command_line(pid)]
    assert not server.leftovers()


def test_a_stop_leaves_no_folder_of_tritons_own(server: Server) -> None:
    before = set(Path("/tmp").glob("python_env_*"))
    server.read_until("ready on gRPC")
    # At once, as a crash would.
    os.kill(stub_of(server.process.pid, "encoder"), signal.SIGKILL)
    server.read_until("Triton runs again")
    server.process.terminate()
    assert server.process.wait(END_SECONDS) == 0
    assert set(Path("/tmp").glob("python_env_*")) <= before


@pytest.mark.parametrize("stubs", [1, 3, None])
def test_a_killed_launcher_leaves_nothing(server: Server, stubs: int | None) -> None:
    """While Triton loads its first or its last model, and when it is ready."""
    if stubs is None:
        server.read_until("ready on gRPC")
    else:
        wait_for_stubs(server, stubs)
    pids = descendants(server.process.pid)
    server.process.kill()
    server.process.wait()
    wait_until_gone(pids)
    wait_for(lambda: not server.leftovers(), END_SECONDS, "what it had in /dev/shm gone")
    own = OWNED_PREFIX.format(pid=server.process.pid).encode()
    assert not [pid for pid in processes() if own in command_line(pid)]


def test_what_a_reaper_could_not_remove_the_next_start_removes(
    server: Server, tiny_repository: Path
) -> None:
    server.read_until("ready on gRPC")
    pids = descendants(server.process.pid)
    [reaper] = [pid for pid in pids if b"reaper.py" in command_line(pid)]
    os.kill(reaper, signal.SIGKILL)
    server.process.kill()
    server.process.wait()
    wait_until_gone(pids)
    assert server.leftovers()
    with Triton(settings_for(tiny_repository)) as triton:
        triton.wait_until_ready(READY_SECONDS)
        assert not server.leftovers()


def test_a_model_that_cannot_load_ends_the_start(tiny_repository: Path, tmp_path: Path) -> None:
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    (repository / "encoder" / "1" / "model.onnx").write_bytes(b"not a graph")
    with Server(repository) as server:
        output, _ = server.process.communicate(timeout=READY_SECONDS)
    assert server.process.returncode == 1
    assert "cannot load" in output
    assert "Triton ended while starting" in output
    assert not server.leftovers()


def test_a_newcomer_sees_nothing_that_looks_like_an_error(server: Server) -> None:
    seen = server.read_until("ready on gRPC").lower()
    assert "error" not in seen
    assert "fail" not in seen


def test_on_ready_runs_a_command_against_the_server(tiny_repository: Path) -> None:
    """As `make run` does."""
    command = f"{sys.executable} -m emotion2vec_client predict {SAMPLES / 'happy.wav'} --json"
    # It finds the server on whichever port it is.
    extra = (f"--grpc-port={free_ports(1)[0]}", f"--on-ready={command}")
    with Server(tiny_repository, *extra) as server:
        assert '"emotion":' in server.read_until('"granularity": "utterance"')


class Service(Server):
    """The same with the gateway, as `make run` starts it."""

    def __init__(self, repository: Path, outputs: Path):
        self.port = free_ports(1)[0]
        super().__init__(repository, "--gateway", E2V_PORT=str(self.port), E2V_OUTPUTS=str(outputs))

    def gateway_pid(self) -> int:
        """Process id of the gateway."""
        [pid] = [pid for pid in children(self.process.pid) if b"gateway" in command_line(pid)]
        return pid


@pytest.fixture
def service(tiny_repository: Path, tmp_path: Path) -> Iterator[Service]:
    with Service(tiny_repository, tmp_path) as running:
        yield running


def test_the_gateway_starts_with_triton_and_both_end_together(service: Service) -> None:
    assert f"http://localhost:{service.port}" in service.read_until("in a browser")
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/ready") as answer:
        assert answer.status == 200
    pids = descendants(service.process.pid)
    service.process.terminate()
    assert service.process.wait(END_SECONDS) == 0
    wait_until_gone(pids)
    assert not service.leftovers()


@pytest.mark.parametrize("part", ["Triton", "the gateway"])
def test_a_part_that_dies_is_named_and_started_again(service: Service, part: str) -> None:
    service.read_until("in a browser")
    gateway = service.gateway_pid()
    victim = gateway if part == "the gateway" else tritonserver_of(service.process.pid)
    os.kill(victim, signal.SIGKILL)
    seen = service.read_until(f"{part} runs again")
    assert f"{part} ended unexpectedly (signal SIGKILL)" in seen


def test_a_model_whose_process_dies_is_named_and_started_again(service: Service) -> None:
    service.read_until("in a browser")
    os.kill(stub_of(service.process.pid, "encoder"), signal.SIGKILL)
    seen = service.read_until("Triton runs again")
    assert "the process of the model encoder has died" in seen


def test_a_gateway_that_cannot_start_is_told_before_triton_starts(tiny_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Server(tiny_repository, "--gateway", E2V_PORT=str(port)) as server:
            output, _ = server.process.communicate(timeout=READY_SECONDS)
    assert server.process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert "starting Triton" not in output


def test_a_killed_launcher_takes_the_gateway_with_it(service: Service) -> None:
    service.read_until("in a browser")
    pids = descendants(service.process.pid)
    service.process.kill()
    service.process.wait()
    wait_until_gone(pids)
