"""Checks that Triton's Python stubs run and respond, which Triton itself does not watch."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from server.triton import Triton

STUB = b"triton_python_backend_stub"
CANARY_SECONDS = 3.0
"""Pause between two clips that check whether the service still answers."""

HANG_SECONDS = 9.0
"""If a clip is unanswered for this long while no stub computes anything, one of them hangs."""

IDLE_CPU_SECONDS = 0.2
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PATIENCE = 600.0


class Health:
    """Watches the stubs of a Triton that is ready.

    Args:
        triton: Running, every model loaded.

    Attributes:
        stubs: The models' names, by process id.
    """

    def __init__(self, triton: Triton) -> None:
        self.stubs = _stubs_of(triton.pid)
        self._canary = _Canary(triton.settings.http_url)
        self._stopped_before: set[int] = set()
        self._idle_since = time.monotonic()
        self._cpu = 0.0

    def close(self) -> None:
        """Stops checking."""
        self._canary.closed.set()

    def trouble(self) -> str | None:
        """What is wrong, or None; call it about twice a second."""
        states = {pid: _state(pid) for pid in self.stubs}
        for pid, state in states.items():
            if state in (None, "Z", "X"):
                return f"the process of the model {self.stubs[pid]} has died"
        stopped = {pid for pid, state in states.items() if state in ("T", "t")}
        # Only if it is stopped twice in a row: a debugger may stop a process for a moment.
        if still := stopped & self._stopped_before:
            return f"the process of the model {self.stubs[min(still)]} is stopped"
        self._stopped_before = stopped
        return self._hang()

    def _hang(self) -> str | None:
        now = time.monotonic()
        cpu = sum(_cpu_seconds(pid) for pid in self.stubs)
        if cpu - self._cpu > IDLE_CPU_SECONDS:
            # A busy stub does not hang: under load a clip may wait for long.
            self._cpu, self._idle_since = cpu, now
        waiting = self._canary.waiting_seconds()
        if min(waiting, now - self._idle_since) > HANG_SECONDS:
            return f"Triton has answered nothing for {waiting:.0f} s and computes nothing"
        return None


class _Canary(threading.Thread):
    """Sends a short, silent clip from time to time."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True, name="canary")
        self._request = _request(f"{url}/v2/models/emotion2vec/infer")
        self._sent: float | None = None
        self.closed = threading.Event()
        self.start()

    def waiting_seconds(self) -> float:
        """How long the current clip has been waiting."""
        sent = self._sent
        return 0.0 if sent is None else time.monotonic() - sent

    def run(self) -> None:
        while not self.closed.wait(CANARY_SECONDS):
            self._sent = time.monotonic()
            # A refusal counts as an answer, and the end of a process is noticed elsewhere.
            with (
                suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(self._request, timeout=PATIENCE) as answer,
            ):
                answer.read()
            self._sent = None


def _request(url: str) -> urllib.request.Request:
    silence = b"\0" * 2 * 400
    layout = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(silence)) + silence
    wav = b"RIFF" + struct.pack("<I", len(body)) + body
    data = struct.pack("<I", len(wav)) + wav
    size = {"binary_data_size": len(data)}
    head = json.dumps(
        {
            "inputs": [{"name": "audio", "shape": [1, 1], "datatype": "BYTES", "parameters": size}],
            "outputs": [{"name": "scores"}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return urllib.request.Request(url, head + data, headers)


def _stubs_of(pid: int) -> dict[int, str]:
    """The models' names, by the id of the process in which each runs."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        # Threads and processes may end meanwhile.
        for child in (_read(task / "children") or b"").decode().split():
            line = _read(Path(f"/proc/{child}/cmdline"))
            if line is not None and STUB in line:
                # Its first argument is the model's file: model_repository/NAME/1/FILE.
                found[int(child)] = Path(line.split(b"\0")[1].decode()).parts[-3]
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _stat(pid: int) -> list[str] | None:
    content = _read(Path(f"/proc/{pid}/stat"))
    # The name before the last parenthesis may contain any characters.
    return None if content is None else content.decode(errors="replace").rpartition(")")[2].split()


def _state(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[0] if fields else None


def _cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0
