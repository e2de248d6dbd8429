"""Several files in one request; a function replaces Triton."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import orjson
import pytest
from fastapi import UploadFile

from gateway.metrics import Observed
from gateway.problems import Problem
from gateway.several import AT_ONCE, recognise_each


def uploads(count: int) -> list[UploadFile]:
    return [UploadFile(io.BytesIO(), filename=f"{number}.wav") for number in range(count)]


def test_answers_keep_their_order_and_a_bad_file_harms_no_other() -> None:
    observed = Observed()

    async def recognise(file: UploadFile) -> Any:
        number = int(str(file.filename).split(".")[0])
        for _ in range(10 - number):  # The first file is answered last.
            await asyncio.sleep(0)
        if number % 3 == 1:
            raise Problem(415, "not_audio", "no audio")
        return {"filename": file.filename}

    answer = asyncio.run(recognise_each(uploads(5), recognise, observed))
    found = orjson.loads(orjson.dumps(answer))["results"]
    assert [each["filename"] for each in found] == [f"{number}.wav" for number in range(5)]
    assert found[1] == {"filename": "1.wav", "code": "not_audio", "detail": "no audio"}
    assert observed.outcomes == ["ok", "not_audio", "ok", "ok", "not_audio"]


def test_some_are_worked_on_at_a_time_and_all_end_with_the_request() -> None:
    at_work: set[str | None] = set()
    ended: set[str | None] = set()

    async def recognise(file: UploadFile) -> Any:
        at_work.add(file.filename)
        try:
            await asyncio.Event().wait()
        finally:
            ended.add(file.filename)
        return {}

    async def hang_up() -> None:
        work = asyncio.create_task(recognise_each(uploads(3 * AT_ONCE), recognise, Observed()))
        while len(at_work) < AT_ONCE:
            await asyncio.sleep(0)
        for _ in range(100):  # Give more files the chance to begin.
            await asyncio.sleep(0)
        assert len(at_work) == AT_ONCE
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(hang_up())
    assert ended == at_work
    assert len(at_work) == AT_ONCE
