"""Builds JSON responses with NumPy arrays, and cancels the work if the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response

from gateway.problems import hung_up

Answer = TypeVar("Answer")


def encoded(content: Mapping[str, object]) -> bytes:
    """JSON of plain types, NumPy arrays and `orjson.Fragment`."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def response_with(
    content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The JSON answer for a result."""
    return Response(encoded(content), status, headers, media_type="application/json")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Cancels the work, in Triton as well, when the client hangs up."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working = asyncio.create_task(work)
    watching = asyncio.create_task(hang_up())
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise hung_up()
        return await working
    finally:
        watching.cancel()
        working.cancel()
