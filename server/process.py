"""Processes of ours: they end with us, and we end with all of theirs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

from server.errors import ServerError

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For ``preexec_fn``: ends the process also when we are killed and can end nothing."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end(process: subprocess.Popen[bytes], name: str, patience: float) -> None:
    """Ends a process that leads a session, and every process in that."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        print(f"server: {name} did not end in {patience:g} s and is killed", file=sys.stderr)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its session at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ended(name: str, process: subprocess.Popen[bytes], when: str) -> ServerError:
    """The error for a part of the service that has ended, though nobody told it to."""
    code = process.returncode
    reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return ServerError(f"{name} ended {when} ({reason}): its own lines above may say why")


class Gateway:
    """``python -m gateway``; E2V_ variables set it up.

    Args:
        triton_url: Where it finds Triton.
    """

    # Its own requests get less; Triton's answer to them may still be waited for.
    STOP_SECONDS = 15

    def __init__(self, triton_url: str) -> None:
        self._triton_url = triton_url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env={**os.environ, "E2V_TRITON_URL": self._triton_url},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def stop(self) -> None:
        """Ends the process, when it has answered what it accepted."""
        running, self._process = self._process, None
        if running is not None:
            end(running, "the gateway", self.STOP_SECONDS)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ServerError("the gateway has not been started")
        return self._process
