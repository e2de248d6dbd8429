"""Runs the command on a terminal, as people do."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

COMMAND = [sys.executable, "-m", "emotion2vec_client"]


def on_a_terminal(*arguments: str, command: str = "predict", stdin: str = os.devnull) -> str:
    """What the command prints if stdout is a terminal and stderr is not."""
    ours, theirs = pty.openpty()
    with (
        open(stdin, "rb") as given,
        subprocess.Popen(
            [*COMMAND, command, *arguments],
            stdin=given,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "COLUMNS": "120", "PYTHONUTF8": "1", "TERM": "xterm-256color"},
        ) as process,
    ):
        os.close(theirs)
        text = b""
        while block := read_block(ours):
            text += block
        os.close(ours)
        assert process.wait() == 0, process.stderr.read()
    return text.decode().replace("\r\n", "\n")


def read_block(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # Linux reports the closed other side as an error.
        return b""
