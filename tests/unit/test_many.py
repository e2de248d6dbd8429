"""Keeps a number of calls in flight, without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from emotion2vec_client import _many as many
from emotion2vec_client._many import stream, stream_async


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100])
def test_every_item_is_answered_once(count: int, ordered: bool) -> None:
    answers = list(stream(range(count), lambda item: item * 2, 4, ordered))
    assert (answers if ordered else sorted(answers)) == [2 * i for i in range(count)]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100])
def test_every_item_is_answered_once_with_asyncio(count: int, ordered: bool) -> None:
    async def double(item: int) -> int:
        await asyncio.sleep(0)
        return item * 2

    async def collect() -> list[int]:
        return [answer async for answer in stream_async(range(count), double, 4, ordered)]

    answers = asyncio.run(collect())
    assert (answers if ordered else sorted(answers)) == [2 * i for i in range(count)]


def test_a_slow_first_item_holds_up_the_order_but_loses_nothing() -> None:
    """The other items fill the buffer; none may be lost when it empties at once."""
    started = threading.Semaphore(0)
    release = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            release.wait()
        else:
            started.release()
        return item

    def unblock() -> None:
        for _ in range(31):
            started.acquire()
        release.set()

    threading.Thread(target=unblock, daemon=True).start()
    assert list(stream(range(500), work, 4, True)) == list(range(500))


class Immediate:
    """An executor that runs each call at once."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, work: Callable[[int], int], item: int) -> Future[int]:
        done: Future[int] = Future()
        done.set_result(work(item))
        return done

    def shutdown(self, **_: object) -> None:
        pass


def test_answers_do_not_wait_for_the_next_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """This matters if names come through a pipe one by one, slower than they are answered."""
    monkeypatch.setattr(many, "ThreadPoolExecutor", Immediate)
    given: list[int] = []
    at_each_item: list[list[int]] = []

    def items() -> Iterator[int]:
        for item in range(3):
            at_each_item.append(list(given))
            yield item

    for answer in stream(items(), lambda item: item, 8, True):
        given.append(answer)
    assert at_each_item == [[], [0], [0, 1]]
    assert given == [0, 1, 2]


def test_exactly_the_concurrency_is_in_flight() -> None:
    barrier = threading.Barrier(4, timeout=10)
    flying = 0
    highest = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal flying, highest
        with lock:
            flying += 1
            highest = max(highest, flying)
        barrier.wait()  # breaks unless four are in flight together
        with lock:
            flying -= 1
        return item

    assert list(stream(range(40), work, 4, False))
    assert highest == 4


def test_leaving_early_leaves_nothing_running() -> None:
    done: dict[int, int] = {}
    answers: Any = stream(iter(range(10**9)), lambda item: done.setdefault(item, item), 4, True)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    answers.close()
    assert len(done) < 3 + 4 * 9
