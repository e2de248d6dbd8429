"""The service under test: started for the measurement, timed until it answers, weighed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks import processes
from benchmarks.processes import ServiceError
from benchmarks.triton_stats import Statistics
from emotion2vec_client import Client, Emotion2VecError

ANSWER_SECONDS = 5.0
"""For a service that runs already."""


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
    """``python -m server --gateway`` on free ports.

    Args:
        repository: The model repository.
        folder: Where its lines go, and its results for as long as it runs.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        self._own = processes.Service(repository.resolve(), folder)
        host, port = self._own.rest
        super().__init__({"gRPC": self._own.grpc_url, "REST": f"{host}:{port}"})

    def __enter__(self) -> Service:
        self._own.start()
        try:
            self.cold_start = self._own.wait_until_ready()
            self.statistics = Statistics(self.hosts["gRPC"])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._stop()

    def _stop(self) -> None:
        self._own.stop()
        shutil.rmtree(self._own.outputs, ignore_errors=True)

    def _parts(self) -> list[tuple[str, psutil.Process]]:
        if self._own.process.poll() is not None:
            raise ServiceError(f"the service ended while it was measured: see {self._own.log}")
        launcher = psutil.Process(self._own.process.pid)
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
    line = process.cmdline()
    text = " ".join(line)
    if "triton_python_backend_stub" in text:
        # Its first argument is what it runs: model_repository/NAME/1/FILE.
        return f"stub of {Path(line[1]).parts[-3]}"
    if "tritonserver" in text:
        return "tritonserver"
    if "sandbox.py" in text:
        return "decoders"
    return "gateway" if "-m gateway" in text else "launcher"
