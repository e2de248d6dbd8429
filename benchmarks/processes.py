"""The service as processes: started for a proof, and its parts found and asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
HOST = "127.0.0.1"
READY_SECONDS = 300.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02


class ServiceError(Exception):
    """The service cannot be started or has no such part; the message is one sentence."""


def own_disk(path: Path, megabytes: int) -> list[str]:
    """What runs a command with a disk of its own at ``path``, which may be filled.

    In a mount namespace, and without root in a user namespace as well: nobody else sees it.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs {path} && exec "$@"'
    return ["unshare", *user, "--mount", "sh", "-c", mount, "sh"]


class Service:
    """``python -m server --gateway`` on free ports, for the length of a ``with`` block.

    Args:
        repository: The model repository.
        folder: Where its lines (``log``) and its results (``outputs``) go.
        within: A command that runs it, such as `own_disk`.
        settings: ``E2V_`` variables of the gateway, in lower case and without the prefix.
    """

    def __init__(
        self, repository: Path, folder: Path, within: Sequence[str] = (), **settings: object
    ) -> None:
        grpc, http, metrics, rest = free_ports(4)
        self.grpc_url = f"{HOST}:{grpc}"
        self.http_url = f"http://{HOST}:{http}"
        self.rest = (HOST, rest)
        self._doors = {
            "gRPC": f"{self.http_url}/v2/health/ready",
            "REST": f"http://{HOST}:{rest}/ready",
        }
        self.outputs = folder / "outputs"
        self.log = folder / "log"
        self._command = [
            # It ends with us, also when we are killed.
            *("setpriv", "--pdeathsig", "TERM", *within),
            *(sys.executable, "-m", "server", "--gateway", f"--model-repository={repository}"),
            *(f"--grpc-port={grpc}", f"--http-port={http}", f"--metrics-port={metrics}"),
        ]
        # Settings of another gateway are not for this one.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("E2V_")}
        own = {"host": HOST, "port": rest, "outputs": self.outputs, **settings}
        self._environment = inherited | {f"E2V_{k.upper()}": str(v) for k, v in own.items()}

    def __enter__(self) -> Service:
        """Starts it, and waits until it is ready.

        Raises:
            ServiceError: It ended, or was not ready in time.
        """
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it, without waiting for anything."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """Ends it like Ctrl-C would, or at once when that does not end it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its children end with it.
            self.process.kill()
            self.process.wait()

    def wait_until_ready(self) -> dict[str, float]:
        """Blocks until Triton and the gateway are ready.

        Returns:
            Seconds from now until each was, by protocol.

        Raises:
            ServiceError: It ended, or was not ready in time.
        """
        began = time.monotonic()
        waiting, seconds = dict(self._doors), {}
        while waiting:
            for protocol in [each for each, url in waiting.items() if _answers(url)]:
                seconds[protocol] = time.monotonic() - began
                del waiting[protocol]
            if self.process.poll() is not None:
                raise ServiceError(
                    f"the service ended while starting: {self.last_line()} (more in {self.log})"
                )
            if time.monotonic() - began > READY_SECONDS:
                raise ServiceError(
                    f"the service was not ready after {READY_SECONDS:.0f} s: see {self.log}"
                )
            time.sleep(POLL_SECONDS)
        return seconds

    def inside(self, command: str) -> None:
        """Runs a line of sh where the service sees its own disk."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        entered = ["nsenter", *user, "--mount", f"--target={self.process.pid}"]
        subprocess.run([*entered, "sh", "-c", command], check=True)

    def fill(self, folder: Path) -> None:
        """Leaves no room on the service's own disk."""
        self.inside(f"head -c 1G /dev/zero > {folder}/filler 2>/dev/null; true")

    def empty(self, folder: Path) -> None:
        """Takes away what filled it."""
        self.inside(f"rm {folder}/filler")

    def is_ready(self) -> bool:
        """Whether Triton says that all its models are ready, and the gateway says so as well."""
        return all(map(_answers, self._doors.values()))

    def last_line(self) -> str:
        """What it said last."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def part(self, name: str) -> int:
        """Process id of ``tritonserver``, ``gateway``, or the stub of a model, by its name.

        Raises:
            ServiceError: It is not there.
        """
        for pid in descendants(self.process.pid):
            if name in _names(pid):
                return pid
        raise ServiceError(f"the service has no process {name!r} now: see {self.log}")


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``; none where it has ended."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _names(pid: int) -> set[str]:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return set()
    program = Path(line[0]).name
    if program == "triton_python_backend_stub":
        # What it runs: model_repository/NAME/1/FILE.
        return {Path(line[1]).parts[-3]}
    return {program} | ({line[2]} if line[1:2] == ["-m"] else set())


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
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


def table(*rows: Sequence[object]) -> str:
    """Rows of text in columns, in Markdown; the first names them."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
