"""Makes timelines of many recordings, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, cast

from emotion2vec_client import _many
from emotion2vec_client._base import OUTAGE_SECONDS
from emotion2vec_client.cli.common import GONE, is_bad_request, progress, sentence
from emotion2vec_client.cli.connection import outages_reported
from emotion2vec_client.cli.rows import Row
from emotion2vec_client.cli.work import Work
from emotion2vec_client.errors import Emotion2VecError

CANCEL_SECONDS = 5.0
"""Longest wait, in seconds, for the server to acknowledge a cancellation."""


@dataclass(frozen=True)
class TimelineWork(Work):
    """Timelines.

    Attributes:
        options: Arguments of `Client.timeline`.
    """

    options: Mapping[str, Any]

    def rows(
        self, paths: Iterable[Path], total: int | None, shown: bool = True
    ) -> Generator[Row, None, None]:
        """See `Work.rows`."""
        # The server was up before, so wait for a restart as `predict_many` does.
        self.client.retry_seconds = OUTAGE_SECONDS
        with progress(total, shown) as advance, outages_reported():
            flying = _InFlight(self.concurrency, advance)

            def attempt(path: Path) -> Row | Exception:
                with flying.one() as report:
                    try:
                        found = self.client.timeline(path, progress=report, **self.options)
                    except GONE as error:
                        return error
                    except (Emotion2VecError, OSError, TypeError, ValueError) as error:
                        if is_bad_request(error):
                            return error
                        return Row(str(path), None, sentence(error), type(error).__name__)
                    return Row(str(path), found)

            answers = _many.stream(paths, attempt, self.concurrency, True)
            try:
                with closing(cast("Generator[Row | Exception, None, None]", answers)):
                    for answer in answers:
                        if isinstance(answer, Exception):
                            raise answer
                        yield answer
            finally:
                flying.stop()


class _InFlight:
    """Timelines in flight: sums up their progress, and cancels them on the server.

    Args:
        concurrency: Largest number of timelines.
        advance: Called with the sum of their finished shares.
    """

    def __init__(self, concurrency: int, advance: Callable[[float], None]) -> None:
        self._concurrency = concurrency
        self._advance = advance
        self._slots = threading.Semaphore(concurrency)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._shares: dict[object, float] = {}
        self._finished = 0

    @contextmanager
    def one(self) -> Iterator[Callable[[float], None]]:
        """Yields the progress callback of one timeline; after `stop` it raises, which cancels."""
        key = object()

        def report(share: float) -> None:
            if self._stopped.is_set():
                raise _StoppedError
            with self._lock:
                self._shares[key] = share
                self._advance(self._finished + sum(self._shares.values()))

        with self._slots:
            try:
                yield report
            finally:
                with self._lock:
                    self._shares.pop(key, None)
                    self._finished += 1
                    self._advance(self._finished + sum(self._shares.values()))

    def stop(self) -> None:
        """Cancels unfinished timelines, and waits for the server to acknowledge."""
        self._stopped.set()
        for _ in range(self._concurrency):
            if not self._slots.acquire(timeout=CANCEL_SECONDS):
                return


class _StoppedError(Exception):
    """The timeline was cancelled."""
