"""Timelines of long recordings: jobs that go on by themselves, and are asked about meanwhile."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from emotion2vec_client import AsyncClient, Emotion2VecError, Segmentation, Timeline
from emotion2vec_client.timeline import PEAK_HOP
from gateway.metrics import Metrics
from gateway.outputs import MAX_NAME, Store, npy
from gateway.problems import Problem, overloaded, problem_of
from gateway.settings import Settings

REMEMBERED = 1000
"""Jobs that can be asked about after their end."""

State = Literal["running", "done", "failed", "cancelled"]


@dataclass
class Job:
    """One recording.

    Attributes:
        id: Nobody can guess it: whoever knows it may ask about the job and cancel it.
        filename: What its owner calls it.
        state: Where it stands.
        progress: Share of the recording that is recognised, 0 to 1; it never falls.
        folder: Of the result, once it is done.
        problem: Why it failed.
    """

    id: str
    filename: str
    state: State = "running"
    progress: float = 0.0
    folder: str | None = None
    problem: Problem | None = None
    work: asyncio.Task[None] = field(init=False, repr=False)


class Timelines:
    """The jobs of one gateway.

    Args:
        client: Connected to Triton.
        store: Where results go.
        settings: Limits.
        metrics: Told of every job.
    """

    def __init__(
        self, client: AsyncClient, store: Store, settings: Settings, metrics: Metrics
    ) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._jobs: dict[str, Job] = {}

    def start(
        self,
        data: bytes,
        filename: str,
        segmentation: Segmentation,
        seconds: Mapping[str, float | None],
        embedding: bool,
    ) -> Job:
        """Begins a job.

        Args:
            data: The whole file.
            filename: What its owner calls it.
            segmentation: ``vad`` or ``fixed``.
            seconds: ``min_segment``, ``max_segment``, ``window`` and ``hop``; None: Triton's own.
            embedding: Whether embedding.npy is wanted.

        Raises:
            Problem: There are too many already.
        """
        running = sum(job.state == "running" for job in self._jobs.values())
        if running >= self._settings.max_recordings:
            raise overloaded(
                f"{running} recordings are being worked on, and there is no room for more: try "
                "again in a minute",
                retry_seconds=60,
            )
        job = Job(secrets.token_urlsafe(16), PurePath(filename).name[:MAX_NAME])
        self._jobs[job.id] = job
        job.work = asyncio.create_task(self._run(job, data, segmentation, seconds, embedding))
        self._forget()
        return job

    def find(self, key: str) -> Job:
        """The job of an id; raises Problem where there is none."""
        if key not in self._jobs:
            raise Problem(
                404,
                "not_found",
                f"there is no timeline {key!r}: it may be too old, or the gateway was started anew",
            )
        return self._jobs[key]

    def result(self, job: Job) -> dict[str, Any] | None:
        """The result of a job as it was saved; None while there is none, or no longer."""
        if job.folder is None:
            return None
        try:
            return self._store.read(job.folder)
        except FileNotFoundError as error:
            raise Problem(404, "not_found", str(error)) from error

    async def wait(self, job: Job, seconds: float) -> None:
        """Returns when a job is over, or after so many seconds."""
        await asyncio.wait([job.work], timeout=seconds)

    async def cancel(self, job: Job) -> None:
        """Ends a job, in Triton as well; one that is over stays what it is."""
        job.work.cancel()
        await asyncio.wait([job.work])

    async def close(self) -> None:
        """Ends all jobs."""
        for job in self._jobs.values():
            await self.cancel(job)

    async def _run(
        self,
        job: Job,
        data: bytes,
        segmentation: Segmentation,
        seconds: Mapping[str, float | None],
        embedding: bool,
    ) -> None:
        began = time.monotonic()

        def progress(share: float) -> None:
            job.progress = share

        with self._metrics.request("timeline") as observed:
            try:
                timeline = await self._client.timeline(
                    data,
                    segmentation=segmentation,
                    embedding=embedding,
                    progress=progress,
                    timeout=self._settings.recording_timeout,
                    **seconds,
                )
                result = {
                    **timeline.to_dict(),
                    **await self._about(job, timeline),
                    "milliseconds": {"recognise": round((time.monotonic() - began) * 1000, 1)},
                }
                saved = await asyncio.to_thread(
                    self._store.save, result, _files(timeline), timeline.timestamp
                )
                job.folder = PurePath(saved["output_dir"]).name
                job.state, job.progress = "done", 1.0
            except asyncio.CancelledError:
                job.state = observed.outcome = "cancelled"
            except (Emotion2VecError, OSError) as error:
                job.state, job.problem = "failed", problem_of(error)
                observed.outcome = job.problem.code
            except BaseException as error:
                job.state, job.problem = "failed", Problem(500, "failed", repr(error))
                raise

    async def _about(self, job: Job, timeline: Timeline) -> dict[str, Any]:
        info = await self._client.model_info()
        return {
            "model": info.checkpoint,
            "precision": info.precision,
            "filename": job.filename,
            "peak_hop": PEAK_HOP,
            # For a picture: a hundredth is less than a pixel.
            "peaks": [round(float(peak), 2) for peak in timeline.peaks],
        }

    def _forget(self) -> None:
        over = [key for key, job in self._jobs.items() if job.state != "running"]
        for key in over[: max(len(self._jobs) - REMEMBERED, 0)]:
            del self._jobs[key]


def _files(timeline: Timeline) -> dict[str, bytes]:
    texts = {"csv": timeline.to_csv(), "srt": timeline.to_srt(), "vtt": timeline.to_vtt()}
    files = {f"timeline.{kind}": text.encode() for kind, text in texts.items()}
    return {**files, **npy(timeline.embedding)}
