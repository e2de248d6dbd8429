"""The service under test: ``python -m server`` on free ports, its processes, and its disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.launch import HOST, PATIENCE, LaunchError, Program, below, free_ports

TRITON = "tritonserver"


class Service(Program):
    """``python -m server`` on free ports, for the length of a ``with`` block.

    Args:
        repository: The model repository.
        options: Options of the server.
        outputs: Folder of the gateway's results; None starts no gateway.
        within: A command to run it with, such as `own_disk`.
        settings: ``E2V_`` variables of the gateway, in lower case and without the prefix.

    Attributes:
        hosts: ``host:port`` by protocol: ``gRPC`` and, with a gateway, ``REST``.
    """

    def __init__(
        self,
        repository: Path,
        *options: str,
        outputs: Path | None = None,
        within: Sequence[str] = (),
        **settings: object,
    ) -> None:
        grpc, http, metrics, rest = free_ports(4)
        self.outputs = outputs
        self.hosts = {"gRPC": f"{HOST}:{grpc}"}
        self.http_url = f"http://{HOST}:{http}"
        self.metrics_url = f"http://{HOST}:{metrics}/metrics"
        self.rest = (HOST, rest)
        # Each one logs this when it is ready.
        self._ready = {"gRPC": "ready on gRPC"}
        own: dict[str, object] = {"host": HOST, "port": rest}
        if outputs is not None:
            options = ("--gateway", *options)
            own["outputs"] = outputs
            self.hosts["REST"] = f"{HOST}:{rest}"
            self._ready["REST"] = "in a browser"
        ports = (f"--grpc-port={grpc}", f"--http-port={http}", f"--metrics-port={metrics}")
        super().__init__(
            [
                *(*within, sys.executable, "-m", "server"),
                *(f"--model-repository={repository}", *ports, *options),
            ],
            environment={f"E2V_{k.upper()}": str(v) for k, v in (own | settings).items()},
        )

    def __exit__(self, *raised: object) -> None:
        """Ends it, and kills Triton, which otherwise takes seconds to unload its models."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
            for process in below(self.pid):
                if part_name(process) == TRITON:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
        super().__exit__(*raised)

    @property
    def grpc_url(self) -> str:
        """Its gRPC address."""
        return self.hosts["gRPC"]

    @property
    def rest_url(self) -> str:
        """The URL of its gateway."""
        return f"http://{self.hosts['REST']}"

    def wait_until_ready(self) -> dict[str, float]:
        """Blocks until Triton and, if there is one, the gateway can answer.

        Returns:
            Seconds from its start until each was ready, by protocol.

        Raises:
            LaunchError: It ended, or was not ready in time.
        """
        return {
            protocol: self.line(words).when - self.began for protocol, words in self._ready.items()
        }

    def counter(self, name: str, model: str) -> int:
        """The value of one of Triton's counters for a model; 0 if it has no value yet."""
        with urllib.request.urlopen(self.metrics_url, timeout=PATIENCE) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f'{name}{{model="{model}"'):
                    return int(float(line.rpartition(" ")[2]))
        return 0

    def part(self, name: str) -> psutil.Process:
        """The process of ``tritonserver``, ``gateway``, or a model, by its name.

        Raises:
            LaunchError: There is no such process.
        """
        for process in below(self.pid):
            if part_name(process) == name:
                return process
        raise LaunchError(f"the service has no process {name!r} now; it printed:\n{self.said}")

    def inside(self, command: str) -> None:
        """Runs a shell command in the service's mount namespace, where its own disk is."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        entered = ["nsenter", *user, "--mount", f"--target={self.pid}"]
        subprocess.run([*entered, "sh", "-c", command], check=True)

    def fill(self, folder: Path) -> None:
        """Fills the service's own disk."""
        self.inside(f"head -c 1G /dev/zero > {folder}/filler 2>/dev/null; true")

    def empty(self, folder: Path) -> None:
        """Removes the file that fills the disk."""
        self.inside(f"rm {folder}/filler")


def part_name(process: psutil.Process) -> str:
    """Which part of the service a process is; a Python model's process has the model's name."""
    try:
        line = process.cmdline()
    except psutil.NoSuchProcess:
        return "ended"
    program = Path(line[0]).name if line else "ended"
    if program == "triton_python_backend_stub" and len(line) > 1:
        # Its first argument is model_repository/NAME/1/FILE.
        return Path(line[1]).parts[-3]
    for part in ("gateway", "audio.sandbox", "reaper.py"):
        if any(Path(argument).name == part for argument in line[1:]):
            return part
    return program
