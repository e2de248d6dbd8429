"""Several files of one request: each is answered by itself, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from fastapi import UploadFile

from gateway.answers import encoded
from gateway.metrics import Observed
from gateway.outputs import short_name
from gateway.problems import Problem

AT_ONCE = 8
"""Files of one request that are worked on: enough for Triton to batch. More would only take places
that other requests wait for."""


async def recognise_each(
    files: Sequence[UploadFile],
    recognise: Callable[[UploadFile], Awaitable[dict[str, Any]]],
    observed: Observed,
) -> dict[str, Any]:
    """Recognises each file; a bad one takes none of its neighbours.

    Args:
        files: Uploads of one form.
        recognise: Gives the result of one, or raises Problem.
        observed: Told what became of each.

    Returns:
        ``results``, one per file and in order: a result, or ``filename``, ``code`` and ``detail``.
    """
    observed.outcomes = ["ok"] * len(files)
    turn = asyncio.Semaphore(AT_ONCE)

    async def answer(number: int, file: UploadFile) -> orjson.Fragment:
        async with turn:
            try:
                result = await recognise(file)
            except Problem as problem:
                observed.outcomes[number] = problem.code
                result = {"filename": short_name(file.filename), **problem.body()}
            # As text an embedding is larger than as an array, but done with: one at a time.
            return orjson.Fragment(encoded(result))

    async with asyncio.TaskGroup() as group:
        working = [group.create_task(answer(number, file)) for number, file in enumerate(files)]
    return {"results": [task.result() for task in working]}
