"""A client that sends clips to a service without a break; none of them may be lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.launch import SAMPLES, wait_until
from benchmarks.service import Service
from emotion2vec_client import Client, Outcome
from tests.scenarios.traffic import TOLERANCE, Arrays, arrays_of, differs

CLIP = SAMPLES / "short.wav"
CONCURRENCY = 8
BUSY_ANSWERS = 4
TIMEOUT = 120.0


class Busy:
    """Runs `predict_many` during a fault, for the length of a ``with`` block.

    Attributes:
        answered: How many clips have been answered correctly.
        lost: What went wrong with the others, one sentence each.
        pause: Seconds between two clips.
    """

    def __init__(self, service: Service) -> None:
        self.answered = 0
        self.pause = 0.0
        self.lost: list[str] = []
        self._url = service.grpc_url
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="busy")

    def __enter__(self) -> Busy:
        self._thread.start()
        self.wait_for_answers(BUSY_ANSWERS)
        return self

    def __exit__(self, *raised: object) -> None:
        self._end.set()
        self._thread.join()

    def wait_for_answers(self, more: int) -> None:
        """Blocks until this many more clips have been answered or lost."""
        wanted = self.answered + len(self.lost) + more
        wait_until(lambda: self.answered + len(self.lost) >= wanted, "answers come")

    def _run(self) -> None:
        with Client(self._url, timeout=TIMEOUT) as client:
            expected = arrays_of(client.predict(CLIP))
            tolerance = TOLERANCE[client.model_info().precision]
            for outcome in client.predict_many(self._clips(), concurrency=CONCURRENCY):
                if trouble := trouble_of(outcome, expected, tolerance):
                    self.lost.append(trouble)
                else:
                    self.answered += 1

    def _clips(self) -> Iterator[Path]:
        while not self._end.wait(self.pause):
            yield CLIP


def trouble_of(outcome: Outcome[Any], expected: Arrays, tolerance: float) -> str | None:
    """What is wrong with an outcome, in a sentence; None if nothing is."""
    if outcome.prediction is None:
        return str(outcome.error)
    return differs(arrays_of(outcome.prediction), expected, tolerance)
