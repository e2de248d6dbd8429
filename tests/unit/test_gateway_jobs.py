"""Timeline jobs without Triton: what the gateway holds of them, and for how long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from emotion2vec_client import LABELS, AsyncClient, Timeline
from emotion2vec_client._summary import Segment
from gateway import timelines as module
from gateway.forms import Embedding
from gateway.metrics import Metrics
from gateway.outputs import Store
from gateway.problems import Problem
from gateway.settings import Settings
from gateway.timelines import Job, Timelines
from tests.unit.test_gateway_metrics import MODEL, values

SEGMENTS, NUMBERS = 3, 8


class Triton:
    """Answers every recording with the same timeline."""

    async def timeline(self, data: bytes, *, embedding: bool, **options: Any) -> Timeline:
        row = np.arange(NUMBERS, dtype=np.float32) if embedding else None
        scores = {label.name: 1 / 9 for label in LABELS}
        segments = tuple(
            Segment(float(start), start + 1.0, scores, 1.0, row) for start in range(SEGMENTS)
        )
        return Timeline(
            segments, SEGMENTS, 1.0, "vad", "random", datetime.now(), np.zeros(4, np.float32)
        )

    async def model_info(self) -> Any:
        return MODEL


class Service:
    """The jobs of a gateway, with its results in a folder."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.settings = Settings(outputs=folder / "outputs", **options)
        self.metrics = Metrics()
        self.store = Store(
            self.settings.outputs, self.settings.keep_results, self.settings.keep_hours
        )
        client = cast(AsyncClient, Triton())
        self.timelines = Timelines(client, self.store, self.settings)

    async def done(self, embedding: Embedding = "none") -> Job:
        with self.metrics.request("timeline") as observed:
            job = self.timelines.start(b"sound", "a.wav", {}, embedding, observed)
        await self.timelines.wait(job, 10)
        return job

    def result(self, job: Job) -> dict[str, Any]:
        found = self.timelines.result(self.timelines.find(job.id))
        assert found is not None
        return json.loads(found)


def check(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


@pytest.mark.parametrize("embedding", ["none", "inline"])
def test_where_nothing_is_kept_the_job_has_the_result(tmp_path: Path, embedding: Embedding) -> None:
    async def work() -> None:
        service = Service(tmp_path, keep_results=0)
        result = service.result(await service.done(embedding))
        assert len(result["segments"]) == SEGMENTS
        assert not {"output_dir", "files"} & set(result)
        assert ("embedding" in result) == (embedding == "inline")
        assert not service.store.root.exists()
        assert values(service.metrics)['emotion2vec_audio_seconds_total{source="timeline"}'] == 3

    check(work)


def test_what_is_held_is_bounded_and_the_oldest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        service = Service(tmp_path, keep_results=0)
        first = await service.done()
        monkeypatch.setattr(module, "HELD_BYTES", 2.5 * len(first.held))
        second, third = await service.done(), await service.done()
        with pytest.raises(Problem, match="there is no timeline"):
            service.timelines.find(first.id)
        assert service.result(second)
        assert service.result(third)
        # The latest result is held even if it exceeds the limit.
        monkeypatch.setattr(module, "HELD_BYTES", 1)
        fourth = await service.done()
        assert service.result(fourth)
        with pytest.raises(Problem, match="there is no timeline"):
            service.timelines.find(third.id)

    check(work)


def test_what_is_held_goes_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        service = Service(tmp_path, keep_results=0, keep_hours=1)
        job = await service.done()
        service.timelines.prune()
        assert service.result(job)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 3601)
        service.timelines.prune()
        with pytest.raises(Problem, match="there is no timeline"):
            service.timelines.find(job.id)

    check(work)


def test_what_is_removed_is_not_held_either(tmp_path: Path) -> None:
    async def work() -> None:
        service = Service(tmp_path)
        job = await service.done("inline")
        assert service.result(job)["embedding"] == [list(range(NUMBERS))] * SEGMENTS
        assert job.folder is not None
        service.store.remove(job.folder)
        service.timelines.release(job.folder)
        with pytest.raises(Problem, match="no result file"):
            service.timelines.result(job)
        assert job.held == b""

    check(work)


def test_an_answer_has_no_endless_embedding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_INLINE", SEGMENTS * NUMBERS - 1)

    async def work() -> None:
        service = Service(tmp_path)
        job = await service.done("inline")
        assert job.state == "failed"
        assert job.problem is not None
        assert (job.problem.status_code, job.problem.code) == (422, "bad_option")
        assert "24 numbers" in job.problem.detail
        assert not service.store.root.exists()
        # A file has no such limit.
        assert (await service.done("file")).state == "done"

    check(work)
