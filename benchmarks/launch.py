"""Starts programs under test, reads their output line by line, and ends all their processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
HOST = "127.0.0.1"

PATIENCE = 900.0
"""Seconds after which something must be wrong, even on a slow machine."""

STOP_SECONDS = 60.0
SHOWN_LINES = 40
NOTHING: Mapping[str, str] = MappingProxyType({})


class LaunchError(Exception):
    """A program did not do what it should; the message is a sentence and the program's output."""


class Line(NamedTuple):
    """A line that a program printed.

    Attributes:
        when: Time at which it came, in seconds of ``time.monotonic``.
        text: The line, without the newline.
    """

    when: float
    text: str


class Program:
    """A program that runs for the length of a ``with`` block; its output is read as it comes.

    Args:
        command: Program and arguments.
        cwd: Working directory.
        environment: Variables that override inherited ones. ``E2V_`` variables are not inherited,
            because they are meant for another service.

    Attributes:
        lines: What it has printed on stdout and stderr so far.
        process: The process, once it is started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path = ROOT,
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        # It gets SIGTERM when this process ends, even if this process is killed.
        self._command = ["setpriv", "--pdeathsig", "TERM", *command]
        self._cwd = cwd
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("E2V_")}
        self._environment = inherited | dict(environment)
        self.lines: list[Line] = []
        self.began = 0.0
        self._read = 0
        self._closed = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read_lines, name="reader", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.end()

    def start(self) -> None:
        """Starts it, without waiting for anything."""
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C must reach only this process, and `end` ends the program.
            start_new_session=True,
        )
        self._reader.start()

    @staticmethod
    def clock() -> float:
        """The current time, on the clock of `Line.when`."""
        return time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def said(self) -> str:
        """Everything it has printed so far."""
        return "\n".join(line.text for line in self.lines)

    def wait_for(self, *words: str) -> Line:
        """Waits for the next line that contains any of these texts.

        Each call continues after the line that the last call found.

        Raises:
            LaunchError: The program ended without such a line, or none came in time.
        """
        number = self._find(words, self._read)
        self._read = number + 1
        return self.lines[number]

    def line(self, words: str) -> Line:
        """The first line that contains this text, from the start; waits for it like `wait_for`."""
        return self.lines[self._find([words], 0)]

    def _find(self, words: Sequence[str], number: int) -> int:
        deadline = time.monotonic() + PATIENCE
        with self._more:
            while True:
                while number < len(self.lines):
                    if any(each in self.lines[number].text for each in words):
                        return number
                    number += 1
                if self._closed:
                    raise self._error(f"it ended without printing {' or '.join(words)!r}")
                if time.monotonic() > deadline:
                    raise self._error(f"no {' or '.join(words)!r} within {PATIENCE:.0f} s")
                self._more.wait(deadline - time.monotonic())

    def wait(self) -> int:
        """Waits for the end of the program and of all writers to its output; returns the exit code.

        Raises:
            LaunchError: It does not end in time.
        """
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise self._error(f"it did not end in {PATIENCE:.0f} s") from error
        self._reader.join(STOP_SECONDS)
        if self._reader.is_alive():
            raise self._error("it ended, but a process that it started is still running")
        return code

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tells it to end, and kills it if it does not; returns the exit code."""
        if self.process.poll() is None:
            self.send(number)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                for each in (*below(self.pid), self.process):
                    each.kill()
        return self.wait()

    def _read_lines(self) -> None:
        assert self.process.stdout
        with self.process.stdout as stream:
            for text in stream:
                with self._more:
                    self.lines.append(Line(time.monotonic(), text.rstrip("\n")))
                    self._more.notify_all()
        with self._more:
            self._closed = True
            self._more.notify_all()

    def _error(self, sentence: str) -> LaunchError:
        shown = "\n".join(line.text for line in self.lines[-SHOWN_LINES:])
        command = " ".join(self._command[3:])
        return LaunchError(f"{command}: {sentence}; its last lines:\n{shown or '(none)'}")


def below(pid: int) -> list[psutil.Process]:
    """All descendants of a process; none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """Waits until all the processes have ended.

    Raises:
        LaunchError: One does not end in time.
    """
    _, alive = psutil.wait_procs(processes, STOP_SECONDS)
    if alive:
        raise LaunchError(f"these processes are still running: {alive}")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits until a condition is true; once true, it must stay true.

    Raises:
        LaunchError: It does not become true in time.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LaunchError(f"after {PATIENCE:.0f} s this was still not true: {what}")
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def own_disk(path: Path, megabytes: int) -> list[str]:
    """The command line that runs a command with a small disk of its own at ``path``.

    No other process sees the disk: it is in a mount namespace (without root, a user namespace too).
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs {path} && exec "$@"'
    return ["unshare", *user, "--mount", "sh", "-c", mount, "sh"]
