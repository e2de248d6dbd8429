"""The service under test: started for the measurement, timed until it answers, weighed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil
import requests

from benchmarks.triton_stats import Statistics
from emotion2vec_client import Client, Emotion2VecError

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
READY_SECONDS = 180.0
ANSWER_SECONDS = 5.0
"""For a service that runs already."""

STOP_SECONDS = 40.0
POLL_SECONDS = 0.1


class ServiceError(Exception):
    """The service cannot be measured; the message is one sentence."""


class Service:
    """A running service, for the length of a ``with`` block.

    Attributes:
        hosts: Addresses by protocol: ``host:port`` of ``gRPC`` and, where there is a gateway, that
            of ``REST``.
        statistics: Of its Triton.
        cold_start: Seconds from its start until each protocol answered; empty where it was running.
    """

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self.hosts = dict(hosts)
        self.cold_start: dict[str, float] = {}

    def __enter__(self) -> Service:
        """Waits until it answers.

        Raises:
            ServiceError: It does not.
        """
        with Client(self.hosts["gRPC"]) as client:
            try:
                client.wait_until_ready(ANSWER_SECONDS)
            except Emotion2VecError as error:
                raise ServiceError(str(error)) from error
        self.statistics = Statistics(self.hosts["gRPC"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.statistics.close()

    def memory(self) -> dict[str, float]:
        """Resident MB by part; empty where the service was not started here."""
        return {}

    def processor_seconds(self) -> float:
        """Processor time that all its parts have used; 0 where it was not started here."""
        return 0.0


class OwnService(Service):
    """``python -m server --gateway`` on free ports; its lines go to a file.

    Args:
        repository: The model repository.
        log: The file.
    """

    def __init__(self, repository: Path, log: Path) -> None:
        self._grpc, self._http, self._metrics, self._rest = free_ports(4)
        super().__init__({"gRPC": f"{HOST}:{self._grpc}", "REST": f"{HOST}:{self._rest}"})
        self._repository = repository
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        self._outputs = tempfile.mkdtemp(prefix="emotion2vec-bench-")
        began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    # It ends with us, also when we are killed.
                    *("setpriv", "--pdeathsig", "TERM"),
                    *(sys.executable, "-m", "server", "--gateway"),
                    f"--model-repository={self._repository}",
                    f"--host={HOST}",
                    f"--grpc-port={self._grpc}",
                    f"--http-port={self._http}",
                    f"--metrics-port={self._metrics}",
                ],
                cwd=ROOT,
                env={
                    # Settings of another gateway are not for this one.
                    **{k: v for k, v in os.environ.items() if not k.startswith("E2V_")},
                    "E2V_HOST": HOST,
                    "E2V_PORT": str(self._rest),
                    "E2V_OUTPUTS": self._outputs,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            waiting = {
                "gRPC": f"http://{HOST}:{self._http}/v2/health/ready",
                "REST": f"http://{HOST}:{self._rest}/ready",
            }
            while waiting:
                for name in [name for name, url in waiting.items() if _answers(url)]:
                    self.cold_start[name] = time.perf_counter() - began
                    del waiting[name]
                self._check(time.perf_counter() - began)
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop()
            raise
        self.statistics = Statistics(self.hosts["gRPC"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._stop()

    def _check(self, waited: float) -> None:
        assert self._process
        if self._process.poll() is not None:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ServiceError(
                f"the service ended while starting: {last[-1] if last else 'without a line'} "
                f"(more in {self._log})"
            )
        if waited > READY_SECONDS:
            raise ServiceError(
                f"the service was not ready after {READY_SECONDS:.0f} s: see {self._log}"
            )

    def _stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its children end with it.
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._outputs, ignore_errors=True)

    def _parts(self) -> list[tuple[str, psutil.Process]]:
        assert self._process
        launcher = psutil.Process(self._process.pid)
        return [(_part(each), each) for each in (launcher, *launcher.children(recursive=True))]

    def memory(self) -> dict[str, float]:
        """Resident MB by part."""
        found: dict[str, float] = {}
        for name, process in self._parts():
            found[name] = found.get(name, 0.0) + process.memory_info().rss / 2**20
        return found

    def processor_seconds(self) -> float:
        """Processor time that all its parts have used."""
        times = [process.cpu_times() for _, process in self._parts()]
        return float(sum(each.user + each.system for each in times))


def _part(process: psutil.Process) -> str:
    """What a process of the service is."""
    line = " ".join(process.cmdline())
    if "triton_python_backend_stub" in line:
        # Its first argument is the model.py it runs.
        return "stub of encoder" if "/onnxruntime" in line else "stubs of preprocess"
    if "tritonserver" in line:
        return "tritonserver"
    return "gateway" if "-m gateway" in line else "launcher"


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
