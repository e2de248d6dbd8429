"""Every fault, on purpose: how fast it is noticed, how fast all is well again, and what is lost.

``python -m benchmarks.chaos [--only WORDS]``, from the root. Each fault meets a fresh service that
`predict_many` keeps busy. The exit code is 1 when a promise is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from types import TracebackType
from typing import Any

from benchmarks import rest
from benchmarks.leaks import SHM
from benchmarks.processes import (
    POLL_SECONDS,
    ROOT,
    SAMPLES,
    Service,
    ServiceError,
    own_disk,
    table,
)
from benchmarks.traffic import CLIPS, TOLERANCE, Arrays, arrays_of, differs
from emotion2vec_client import Client, Outcome

CLIP = SAMPLES / "short.wav"
CONCURRENCY = 8
BUSY_ANSWERS = 4
PATIENCE = 180.0

DEATH_SECONDS, HANG_SECONDS, BACK_SECONDS = 2.0, 15.0, 20.0


class Broken(Exception):
    """A promise was not kept in a way that leaves nothing to measure; one sentence."""


@dataclass
class Row:
    """What a fault did.

    Attributes:
        fault: Its name.
        noticed: Seconds until the service said that it is not ready.
        noticed_limit: What is promised.
        back: Seconds until it was ready again, from the fault.
        answered: Of `predict_many`.
        lost: Of `predict_many`: errors, and answers that were not the clip's.
        note: What else there is to say.
        broken: Whether anything else was not as it should be.
    """

    fault: str
    noticed: float | None = None
    noticed_limit: float = DEATH_SECONDS
    back: float | None = None
    answered: int = 0
    lost: int = 0
    note: str = ""
    broken: bool = False

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        late = (self.noticed or 0) > self.noticed_limit or (self.back or 0) > BACK_SECONDS
        return not (late or self.lost or self.broken)

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        times = ("" if each is None else f"{each:.1f} s" for each in (self.noticed, self.back))
        verdict = "ok" if self.kept else "BROKEN"
        return (self.fault, *times, f"{self.answered}", f"{self.lost}", self.note, verdict)


class Many:
    """`predict_many` at work beside a fault, for the length of a ``with`` block.

    Attributes:
        answered: How many clips have been answered well.
        lost: What went wrong, in sentences.
    """

    def __init__(self, service: Service) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._url = service.grpc_url
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="many")

    def __enter__(self) -> Many:
        self._thread.start()
        self.wait_for_answers(BUSY_ANSWERS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def wait_for_answers(self, more: int) -> None:
        """Blocks until there are so many more than now; raises Broken if none come."""
        wanted = self.answered + len(self.lost) + more
        _wait(lambda: self.answered + len(self.lost) >= wanted, "answers come")

    def _run(self) -> None:
        with Client(self._url, timeout=60) as client:
            expected = arrays_of(client.predict(CLIP))
            tolerance = TOLERANCE[client.model_info().precision]

            # Until it is told to end.
            items = itertools.takewhile(lambda _: not self._end.is_set(), itertools.repeat(CLIP))
            for outcome in client.predict_many(items, concurrency=CONCURRENCY):
                if trouble := _trouble(outcome, expected, tolerance):
                    self.lost.append(trouble)
                else:
                    self.answered += 1


def _trouble(outcome: Outcome[Any], expected: Arrays, tolerance: float) -> str | None:
    if outcome.prediction is None:
        return str(outcome.error)
    return differs(arrays_of(outcome.prediction), expected, tolerance)


def _wait(condition: Callable[[], bool], what: str) -> float:
    """Seconds until a condition holds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise Broken(f"after {PATIENCE:.0f} s it was not so that {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def _disturb(service: Service, row: Row, fault: Callable[[], None]) -> None:
    """Measures what a fault does to a busy service that is to be back by itself."""
    with Many(service) as many:
        fault()
        began = time.monotonic()
        row.noticed = _wait(lambda: not service.is_ready(), "the fault is noticed")
        _wait(service.is_ready, "the service is back")
        row.back = time.monotonic() - began
        many.wait_for_answers(2 * CONCURRENCY)
    row.answered, row.lost = many.answered, len(many.lost)
    row.note = many.lost[0] if many.lost else row.note


def _signalled(part: str, number: signal.Signals) -> Callable[[Path, Path, Row], None]:
    def scenario(repository: Path, folder: Path, row: Row) -> None:
        with Service(repository, folder) as service:
            _disturb(service, row, lambda: os.kill(service.part(part), number))

    return scenario


def _reload(repository: Path, folder: Path, row: Row) -> None:
    """A new export over the old one."""
    row.noticed_limit = PATIENCE
    with Service(repository, folder) as service:
        _disturb(service, row, lambda: service.process.send_signal(signal.SIGHUP))
    row.note = row.note or "accepted requests are answered first"


def _drain(repository: Path, folder: Path, row: Row) -> None:
    """SIGTERM while clips are on their way, none of which is sent twice."""
    with Service(repository, folder) as service:
        outcomes: list[str | None] = []

        def send() -> None:
            with Client(service.grpc_url, retry_seconds=0, timeout=60) as client:
                [outcome] = client.predict_many([CLIP])
                outcomes.append(None if outcome.error is None else type(outcome.error).__name__)

        senders = [threading.Thread(target=send) for _ in range(4 * CONCURRENCY)]
        for sender in senders:
            sender.start()
        _wait(lambda: len(outcomes) >= 1, "answers come")
        service.process.terminate()
        began = time.monotonic()
        code = service.process.wait(PATIENCE)
        ended = time.monotonic() - began
        for sender in senders:
            sender.join()
    row.answered = outcomes.count(None)
    refused = len(outcomes) - row.answered
    row.broken = code != 0 or row.answered < 2
    row.note = f"{refused} refused; exit code {code} after {ended:.1f} s"


def _corrupt(repository: Path, folder: Path, row: Row) -> None:
    """A graph that cannot be read, at the start."""
    copy = copytree(repository, folder / "model_repository", copy_function=os.symlink)
    graph = copy / "encoder" / "1" / "model.onnx"
    graph.unlink()
    graph.write_bytes(b"not a graph")
    service = Service(copy, folder)
    service.start()
    began = time.monotonic()
    code = service.process.wait(PATIENCE)
    row.broken = code != 1 or "Triton ended while starting" not in service.last_line()
    row.note = f"exit code {code} after {time.monotonic() - began:.1f} s, which says why"


def _full_disk(repository: Path, folder: Path, row: Row) -> None:
    """No room under outputs/."""
    outputs = folder / "outputs"
    outputs.mkdir()

    def status() -> int:
        return asyncio.run(rest.ask(service.rest, rest.upload(CLIPS[CLIP.name]))).status

    with Service(repository, folder, own_disk(outputs, 8)) as service:
        first = status()
        with Many(service) as many:
            service.fill(outputs)
            full = status()
            ready = service.is_ready()
            many.wait_for_answers(CONCURRENCY)
            service.empty(outputs)
            again = status()
    row.answered, row.lost = many.answered, len(many.lost)
    row.broken = (first, full, again) != (200, 507, 200) or not ready
    row.note = f"REST answers {first}, {full} while full, then {again}; Triton goes on"


def _full_shared_memory(repository: Path, folder: Path, row: Row) -> None:
    """No room in /dev/shm: clips are answered as before, from what was taken at the start."""
    with Service(repository, folder, own_disk(SHM, 256)) as service:
        with Client(service.grpc_url, retry_seconds=0, timeout=PATIENCE) as client:
            sent = [SAMPLES / "story.ogg", CLIP] * 3
            wants: dict[str, Any] = {"granularity": "frame", "embedding": True}
            expected = [arrays_of(client.predict(clip, **wants)) for clip in sent]
            service.fill(SHM)
            outcomes = client.predict_many(sent, **wants)
            tolerance = TOLERANCE[client.model_info().precision]
            troubles = [
                _trouble(outcome, wanted, tolerance)
                for outcome, wanted in zip(outcomes, expected, strict=True)
            ]
        row.broken = not service.is_ready()
    lost = [trouble for trouble in troubles if trouble]
    row.answered, row.lost = len(sent) - len(lost), len(lost)
    row.note = lost[0] if lost else "clips are answered as before"


SCENARIOS: dict[str, Callable[[Path, Path, Row], None]] = {
    "tritonserver killed": _signalled("tritonserver", signal.SIGKILL),
    "preprocess stub killed": _signalled("preprocess", signal.SIGKILL),
    "encoder stub killed": _signalled("encoder", signal.SIGKILL),
    "gateway killed": _signalled("gateway", signal.SIGKILL),
    "preprocess stub stopped": _signalled("preprocess", signal.SIGSTOP),
    "encoder stub stopped": _signalled("encoder", signal.SIGSTOP),
    "new model loaded (SIGHUP)": _reload,
    "told to end (SIGTERM)": _drain,
    "corrupt model at the start": _corrupt,
    "outputs/ full": _full_disk,
    "/dev/shm full": _full_shared_memory,
}


def play(name: str, repository: Path) -> Row:
    """One fault, from a fresh service on."""
    row = Row(name, noticed_limit=HANG_SECONDS if "stopped" in name else DEATH_SECONDS)
    with tempfile.TemporaryDirectory(prefix="emotion2vec-chaos-") as folder:
        try:
            SCENARIOS[name](repository, Path(folder), row)
        except (Broken, ServiceError) as error:
            row.broken, row.note = True, str(error)
    return row


def main() -> int:
    """Plays the faults; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORDS", help="faults with these in the name")
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    options = parser.parse_args()
    rows = []
    for name in SCENARIOS:
        if options.only in name:
            print(f"chaos: {name} ...", file=sys.stderr, flush=True)
            rows.append(play(name, options.model_repository.resolve()))
    head = ("fault", "not ready after", "back after", "answered", "lost", "", "")
    print(table(head, *(row.cells() for row in rows)))
    return int(not all(row.kept for row in rows))


if __name__ == "__main__":
    sys.exit(main())
