"""Processes of ours: they end with us, and we end with all of theirs."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

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


def wait_for_any(parts: Mapping[str, subprocess.Popen[bytes]]) -> ServerError:
    """Blocks until one of the parts has ended; returns the error that says which."""
    handles = {os.pidfd_open(process.pid): name for name, process in parts.items()}
    try:
        gone, _, _ = select.select(list(handles), [], [])
    finally:
        for handle in handles:
            os.close(handle)
    name = handles[gone[0]]
    parts[name].wait()
    return ended(name, parts[name], "unexpectedly")


class Gateway:
    """Runs ``python -m gateway`` for the length of a ``with`` block; E2V_ variables set it up.

    Args:
        triton_url: Where it finds Triton.
    """

    STOP_SECONDS = 15

    def __init__(self, triton_url: str) -> None:
        self._triton_url = triton_url
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gateway:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env={**os.environ, "E2V_TRITON_URL": self._triton_url},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end(self.process, "the gateway", self.STOP_SECONDS)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ServerError("the gateway has not been started: use `with Gateway(...)`")
        return self._process
