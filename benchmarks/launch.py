"""Programs under test: started, read line by line, ended, and nothing of them left running."""

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
"""Seconds after which something has gone wrong, on however slow a machine."""

STOP_SECONDS = 60.0
SHOWN_LINES = 40
NOTHING: Mapping[str, str] = MappingProxyType({})


class LaunchError(Exception):
    """A program did not do what it should; the message is a sentence, and what it printed."""


class Line(NamedTuple):
    """A line that a program printed.

    Attributes:
        when: Seconds of ``time.monotonic``.
        text: The line, without its end.
    """

    when: float
    text: str


class Program:
    """A program for the length of a ``with`` block, whose lines are read as they come.

    Args:
        command: Program and arguments.
        cwd: Where it runs.
        environment: Variables in place of those inherited. ``E2V_`` variables are not inherited,
            since they are those of another service.

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
        # It ends with us, also when we are killed.
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
            # Signals of the terminal are for us, and `end` passes them on.
            start_new_session=True,
        )
        self._reader.start()

    @staticmethod
    def clock() -> float:
        """Now, on the clock of `Line.when`."""
        return time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return "\n".join(line.text for line in self.lines)

    def wait_for(self, *words: str) -> Line:
        """Reads on until a line has these words, or any of them.

        Each call goes on behind the line that the last one found.

        Raises:
            LaunchError: The program ended without them, or they did not come.
        """
        number = self._find(words, self._read)
        self._read = number + 1
        return self.lines[number]

    def line(self, words: str) -> Line:
        """The first line of all with these words; waits for it like `wait_for`."""
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
                    raise self._error(f"it ended without saying {' or '.join(words)!r}")
                if time.monotonic() > deadline:
                    raise self._error(f"it did not say {' or '.join(words)!r} in {PATIENCE:.0f} s")
                self._more.wait(deadline - time.monotonic())

    def wait(self) -> int:
        """Returns its exit code, when it and all that writes into its output have ended.

        Raises:
            LaunchError: It does not end.
        """
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise self._error(f"it did not end in {PATIENCE:.0f} s") from error
        self._reader.join(STOP_SECONDS)
        if self._reader.is_alive():
            raise self._error("it ended, and something that it started goes on")
        return code

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tells it to end, and kills it when it does not; returns the exit code."""
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
    """All processes below one; none where it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """Returns when none of the processes lives.

    Raises:
        LaunchError: One stays.
    """
    _, alive = psutil.wait_procs(processes, STOP_SECONDS)
    if alive:
        raise LaunchError(f"these go on: {alive}")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Returns when a condition holds that stays, once it holds.

    Raises:
        LaunchError: It does not come to hold.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LaunchError(f"after {PATIENCE:.0f} s it was not so that {what}")
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
    """What runs a command with a disk of its own at ``path``, which may be filled.

    In a mount namespace, and without root in a user namespace as well: nothing else sees it.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs {path} && exec "$@"'
    return ["unshare", *user, "--mount", "sh", "-c", mount, "sh"]
