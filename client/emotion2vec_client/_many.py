"""Many calls at once, with a limit on those in flight and on memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Callable, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BUFFERED = 8
"""Results kept, per call in flight, while an ordered stream waits for the slowest call."""


class _Order:
    """Finished results, handed out as they come or in the order of their items."""

    def __init__(self, ordered: bool):
        self._ordered = ordered
        self._next = 0
        self._held: dict[int, object] = {}

    def __len__(self) -> int:
        return len(self._held)

    def put(self, number: int, result: object) -> None:
        self._held[number] = result

    def take(self) -> Iterator[object]:
        numbers = list(self._held) if not self._ordered else iter(lambda: self._next, None)
        for number in numbers:
            if number not in self._held:
                return
            self._next = number + 1
            yield self._held.pop(number)


def stream(
    items: Iterable[Item], work: Callable[[Item], Result], concurrency: int, ordered: bool
) -> Iterator[Result]:
    """Applies ``work`` to items, ``concurrency`` at a time, in threads.

    Args:
        items: Read one by one, as calls finish.
        work: Must not raise.
        concurrency: Calls in flight.
        ordered: Whether results come in the order of the items, or as they are ready.
    """
    source = enumerate(items)
    flying: dict[Future[Result], int] = {}
    order = _Order(ordered)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="emotion2vec")
    try:
        more = True
        while True:
            while more and len(flying) < concurrency and len(order) < BUFFERED * concurrency:
                # The next item may take long to come, so yield what is ready first.
                for done in wait(flying, 0).done:
                    order.put(flying.pop(done), done.result())
                yield from order.take()  # type: ignore[misc]
                number, item = next(source, (-1, None))
                if number < 0:
                    more = False
                else:
                    flying[pool.submit(work, item)] = number  # type: ignore[arg-type]
            yield from order.take()  # type: ignore[misc]
            if not flying:
                if more:
                    continue
                return
            for done in wait(flying, return_when=FIRST_COMPLETED).done:
                order.put(flying.pop(done), done.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def stream_async(
    items: Iterable[Item] | AsyncIterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    concurrency: int,
    ordered: bool,
) -> AsyncIterator[Result]:
    """`stream` with asyncio; the items may come from an asynchronous iterable."""
    source = _numbered(items)
    flying: dict[asyncio.Future[Result], int] = {}
    order = _Order(ordered)
    try:
        more = True
        while True:
            while more and len(flying) < concurrency and len(order) < BUFFERED * concurrency:
                try:
                    number, item = await source.__anext__()
                except StopAsyncIteration:
                    more = False
                else:
                    flying[asyncio.ensure_future(work(item))] = number
            for result in order.take():
                yield result  # type: ignore[misc]
            if not flying:
                if more:
                    continue
                return
            done, _ = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                order.put(flying.pop(each), each.result())
    finally:
        for each in flying:
            each.cancel()


async def _numbered(
    items: Iterable[Item] | AsyncIterable[Item],
) -> AsyncIterator[tuple[int, Item]]:
    number = 0
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield number, item
            number += 1
    else:
        for item in items:
            yield number, item
            number += 1
