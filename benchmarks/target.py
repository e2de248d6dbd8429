"""The service that a benchmark measures: one of its own, or one that runs already."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import psutil

from benchmarks.launch import LaunchError, below
from benchmarks.service import TRITON, Service, part_name
from benchmarks.triton_stats import Statistics
from emotion2vec_client import Client, Emotion2VecError

ANSWER_SECONDS = 5.0
"""Seconds to wait for a service that runs already."""

NAMES = {"audio.sandbox": "decoders", "reaper.py": "launcher", "gateway": "gateway"}
"""Names of processes in the report; all others are tritonserver and the models' processes."""


class Target:
    """A service that answers, for the length of a ``with`` block.

    Args:
        hosts: Addresses by protocol: ``host:port`` of ``gRPC`` and, if there is a gateway, the
            address of ``REST``.
        own: The service to start; None if it runs already.

    Attributes:
        statistics: Reads the statistics of its Triton.
        cold_start: Seconds from its start until each protocol answered; empty if it ran already.
    """

    def __init__(self, hosts: Mapping[str, str], own: Service | None = None) -> None:
        self.hosts = dict(hosts)
        self.cold_start: dict[str, float] = {}
        self._own = own

    def __enter__(self) -> Target:
        """Waits until it answers.

        Raises:
            LaunchError: It does not answer.
        """
        try:
            if self._own is not None:
                self._own.start()
                self.cold_start = self._own.wait_until_ready()
            with Client(self.hosts["gRPC"]) as client:
                client.wait_until_ready(ANSWER_SECONDS)
            self.statistics = Statistics(self.hosts["gRPC"])
        except BaseException as error:
            self._end()
            if isinstance(error, Emotion2VecError):
                raise LaunchError(str(error)) from error
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.statistics.close()
        self._end()

    def _end(self) -> None:
        if self._own is not None:
            self._own.end()
            if self._own.outputs is not None:
                (self._own.outputs.parent / "log").write_text(f"{self._own.said}\n", "utf-8")
                shutil.rmtree(self._own.outputs, ignore_errors=True)

    def _parts(self) -> list[tuple[str, psutil.Process]]:
        if self._own is None:
            return []
        if self._own.process.poll() is not None:
            raise LaunchError(f"the service ended while it was measured:\n{self._own.said}")
        parts = [("launcher", psutil.Process(self._own.pid))]
        return parts + [(_name(each), each) for each in below(self._own.pid)]

    def memory(self) -> dict[str, float]:
        """Resident MB by part; empty if the service was not started here."""
        found: dict[str, float] = {}
        for name, process in self._parts():
            found[name] = found.get(name, 0.0) + process.memory_info().rss / 2**20
        return found

    def cpu_seconds(self) -> float:
        """CPU time that all its parts have used; 0 if it was not started here."""
        times = [process.cpu_times() for _, process in self._parts()]
        return float(sum(each.user + each.system for each in times))


def _name(process: psutil.Process) -> str:
    name = part_name(process)
    if name == TRITON or name in NAMES:
        return NAMES.get(name, name)
    return f"stub of {name}"
