"""Several files in one request: each gets its own answer, and a few are processed at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
from fastapi import UploadFile

from gateway.answers import encoded
from gateway.metrics import Observed
from gateway.outputs import short_name
from gateway.problems import Problem
from gateway.schema import FileProblem, Result

AT_ONCE = 8
"""Files of one request in progress: enough for Triton to batch. More would only take places from
other requests."""


async def recognise_each(
    files: Sequence[UploadFile],
    recognise: Callable[[UploadFile], Awaitable[Result]],
    observed: Observed,
) -> dict[str, list[orjson.Fragment]]:
    """Recognises each file; a bad one fails alone.

    Args:
        files: Uploads of one form.
        recognise: Returns the result of one file, or raises Problem.
        observed: Gets the outcome of each file.

    Returns:
        ``results``, one per file and in order: a result, or ``filename``, ``code`` and ``detail``.
    """
    observed.outcomes = ["ok"] * len(files)
    turn = asyncio.Semaphore(AT_ONCE)

    async def answer(number: int, file: UploadFile) -> orjson.Fragment:
        async with turn:
            try:
                result: Result | FileProblem = await recognise(file)
            except Problem as problem:
                observed.outcomes[number] = problem.code
                result = {"filename": short_name(file.filename), **problem.body()}
            # Encode each result as it comes, so that no step blocks the event loop for long.
            return orjson.Fragment(encoded(result))

    async with asyncio.TaskGroup() as group:
        working = [group.create_task(answer(number, file)) for number, file in enumerate(files)]
    return {"results": [task.result() for task in working]}
