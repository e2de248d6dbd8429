"""The service under test: ``python -m server`` on free ports, its parts, and its disk."""

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
        options: Of the server.
        outputs: Where the gateway's results go; None starts no gateway.
        within: A command that runs it, such as `own_disk`.
        settings: ``E2V_`` variables of the gateway, in lower case and without the prefix.

    Attributes:
        hosts: Addresses by protocol: ``host:port`` of ``gRPC`` and, with a gateway, of ``REST``.
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
        # What each says when it answers.
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
        """Ends it without the seconds in which Triton unloads its models."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
            for process in below(self.pid):
                if part_name(process) == TRITON:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
        super().__exit__(*raised)

    @property
    def grpc_url(self) -> str:
        """Where it takes gRPC."""
        return self.hosts["gRPC"]

    @property
    def rest_url(self) -> str:
        """Where its gateway listens."""
        return f"http://{self.hosts['REST']}"

    def wait_until_ready(self) -> dict[str, float]:
        """Blocks until Triton and, if there is one, the gateway can answer.

        Returns:
            Seconds from its start until each could, by protocol.

        Raises:
            LaunchError: It ended, or was not ready in time.
        """
        return {
            protocol: self.line(words).when - self.began for protocol, words in self._ready.items()
        }

    def counter(self, name: str, model: str) -> int:
        """A count of Triton's, of one model; 0 before the first."""
        with urllib.request.urlopen(self.metrics_url, timeout=PATIENCE) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f'{name}{{model="{model}"'):
                    return int(float(line.rpartition(" ")[2]))
        return 0

    def part(self, name: str) -> psutil.Process:
        """The process of ``tritonserver``, ``gateway``, or a model, by its name.

        Raises:
            LaunchError: It is not there.
        """
        for process in below(self.pid):
            if part_name(process) == name:
                return process
        raise LaunchError(f"the service has no process {name!r} now; it said:\n{self.said}")

    def inside(self, command: str) -> None:
        """Runs a line of sh where the service sees its own disk."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        entered = ["nsenter", *user, "--mount", f"--target={self.pid}"]
        subprocess.run([*entered, "sh", "-c", command], check=True)

    def fill(self, folder: Path) -> None:
        """Leaves no room on the service's own disk."""
        self.inside(f"head -c 1G /dev/zero > {folder}/filler 2>/dev/null; true")

    def empty(self, folder: Path) -> None:
        """Takes away what filled it."""
        self.inside(f"rm {folder}/filler")


def part_name(process: psutil.Process) -> str:
    """What a process of the service is: a model for the process in which one runs."""
    try:
        line = process.cmdline()
    except psutil.NoSuchProcess:
        return "ended"
    program = Path(line[0]).name if line else "ended"
    if program == "triton_python_backend_stub" and len(line) > 1:
        # What it runs: model_repository/NAME/1/FILE.
        return Path(line[1]).parts[-3]
    for part in ("gateway", "audio.sandbox", "reaper.py"):
        if any(Path(argument).name == part for argument in line[1:]):
            return part
    return program
