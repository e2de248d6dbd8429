"""Processes that take turns, so that their timings can be compared.

Each is a process of its own, because the thread pools of PyTorch and OpenVINO slow each other down
in one. Requests and answers are lines of JSON. They take turns because a machine's speed drifts.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError

ROOT = Path(__file__).resolve().parent.parent
Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Side:
    """A process of a module that calls `serve`.

    Args:
        module: For ``python -m``.
        arguments: For the module; the first one names the side in errors.
    """

    def __init__(self, module: str, *arguments: str):
        self._name = arguments[0]
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, **question: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            ExportError: The process has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ExportError(f"the side {self._name} ended: its output above says why")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(prepare: Callable[[], Answer]) -> None:
    """Answers one line of JSON for each line until the input ends.

    Args:
        prepare: Returns the function that answers.
    """
    # Libraries print to stdout: send that to stderr, away from the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answer = prepare()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers)


def timed(encode: Callable[[list[np.ndarray]], np.ndarray]) -> Answer:
    """Times ``encode``, which turns clips (float32 [n]) into embeddings [clips, embed_dim].

    A request names the samples of each clip; its answer has ``seconds``, ``embeddings`` and
    ``peak_megabytes``.
    """
    # Reset the peak, so that it covers encoding and not loading.
    Path("/proc/self/clear_refs").write_text("5")

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        clips = [noise(samples) for samples in request["clips"]]
        started = time.perf_counter()
        embeddings = encode(clips)
        return {
            "seconds": time.perf_counter() - started,
            "embeddings": embeddings.tolist(),
            "peak_megabytes": _peak_megabytes(),
        }

    return answer


def noise(samples: int) -> np.ndarray:
    """A clip of noise with a given number of samples, always the same."""
    return np.random.default_rng(samples).standard_normal(samples).astype(np.float32)


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
