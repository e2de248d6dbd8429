"""Child processes that end with their parent, together with their own children."""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from server import reaper
from server.errors import ServerError
from server.reaper import POLL_SECONDS, kill_group
from server.stop import Stop

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For ``preexec_fn``: ends the child even if its parent is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end(process: subprocess.Popen[bytes], name: str, patience: float, stop: Stop) -> None:
    """Ends a process that leads a session, and every process in the session.

    Args:
        process: Gets SIGTERM, and is killed if it does not end in time.
        name: Its name in the log.
        patience: Seconds that it may take to end.
        stop: If this is hurried, the process is killed at once.
    """
    process.terminate()
    deadline = time.monotonic() + patience
    while process.poll() is None:
        if stop.hurried or time.monotonic() > deadline:
            why = "told again to stop" if stop.hurried else f"it did not end in {patience:g} s"
            log.warning("%s is killed: %s", name, why)
            break
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its session; returns when all of it has ended."""
    kill_group(process.pid)
    process.wait()


class Reaper:
    """Ends Triton if this process is killed and cannot; see `server.reaper`.

    Args:
        prefix: Prefix of Triton's files in /dev/shm and in the temporary folder.
        patience: Seconds that Triton may take to answer accepted requests.
        lock: File descriptor of the lock on its files, which the reaper holds as well.
    """

    def __init__(self, prefix: str, patience: float, lock: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", reaper.__file__, prefix, str(patience)],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
            # A signal to this process's group must not end the reaper.
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Names the process group to end."""
        self._write(str(group).encode())

    def own(self, folder: Path) -> None:
        """Names a folder to remove together with the group."""
        self._write(bytes(folder))

    def release(self) -> None:
        """Reports that everything has ended."""
        self._write(reaper.DONE)
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _write(self, word: bytes) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # The reaper was killed, and will end nothing.
            self._process.stdin.write(word + b"\n")
            self._process.stdin.flush()


def ended(name: str, process: subprocess.Popen[bytes], when: str) -> ServerError:
    """The error for a part of the service that has ended without being told to."""
    code = process.returncode
    reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return ServerError(f"{name} ended {when} ({reason}): its own lines above may say why")


def gateway_grace(production: bool) -> float | None:
    """Asks the gateway how many seconds its settings give it to end.

    Returns:
        None if it does not accept its settings; it has said why.
    """
    options = ["--production"] if production else []
    check = [sys.executable, "-m", "gateway.check", "--grace", *options]
    # In a session of its own, so that Ctrl-C does not reach it.
    asked = subprocess.run(check, check=False, start_new_session=True, stdout=subprocess.PIPE)
    return float(asked.stdout) if asked.returncode == 0 else None


def run_command(command: str, stop: Stop, **environment: str) -> None:
    """Runs a command line and waits for it.

    Args:
        command: Program and arguments, quoted as for a shell.
        stop: Ends the command and the wait.
        environment: Variables in addition to those of this process.

    Raises:
        ServerError: There is no such program, or a quote is missing.
        StopRequested: ``stop`` was told to stop.
    """
    try:
        process = subprocess.Popen(
            shlex.split(command), env={**os.environ, **environment}, preexec_fn=die_with_parent
        )
    except (OSError, ValueError) as error:
        raise ServerError(f"--on-ready {command!r} cannot be run: {error}") from error
    try:
        while process.poll() is None:
            stop.check()
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


class Gateway:
    """``python -m gateway``, configured by E2V_ variables.

    Args:
        triton_url: Address of Triton.
        restarts: File descriptor of the restart counts.
        grace: Seconds in which it answers accepted requests after it is told to stop.
    """

    STOP_SECONDS = 10
    """How long it may take to end after its grace."""

    def __init__(self, triton_url: str, restarts: int, grace: float) -> None:
        self._triton_url = triton_url
        self._restarts = restarts
        self._patience = grace + self.STOP_SECONDS
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", f"--restarts={self._restarts}"],
            pass_fds=[self._restarts],
            env={**os.environ, "E2V_TRITON_URL": self._triton_url},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def stop(self, stop: Stop) -> None:
        """Ends the process after it has answered accepted requests."""
        running, self._process = self._process, None
        if running is not None:
            end(running, "the gateway", self._patience, stop)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ServerError("the gateway has not been started")
        return self._process
