"""Timelines of long recordings: background jobs whose progress clients can ask for."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from emotion2vec_client import (
    PEAK_HOP,
    TIMELINE_MODEL,
    AsyncClient,
    Emotion2VecError,
    Timeline,
)
from gateway.answers import encoded
from gateway.forms import Embedding
from gateway.metrics import Observed
from gateway.outputs import RESULT, Store, npy
from gateway.problems import Problem, overloaded, problem_of
from gateway.schema import TimelineResult
from gateway.settings import Settings

REMEMBERED = 1000
"""Ended jobs that clients can still ask about."""

HELD_BYTES = 256 * 2**20
"""Total size of the results in memory; the oldest are dropped first, the latest stays."""

MOST_INLINE = 2**24
"""Most numbers in an inline embedding: as text they take 180 MB."""

State = Literal["running", "done", "failed", "cancelled"]


@dataclass
class Job:
    """One recording.

    Attributes:
        id: Cannot be guessed, because any client that knows it may ask about the job and cancel
            it.
        filename: The name of the upload.
        state: Its state.
        progress: Share of the recording that is recognised, 0 to 1; it never falls.
        folder: The result's folder, once the job is done, if results are kept.
        held: The result as JSON, if no file contains all of it.
        ended: When it ended, by `time.monotonic`.
        problem: Why it failed.
    """

    id: str
    filename: str
    state: State = "running"
    progress: float = 0.0
    folder: str | None = None
    held: bytes = field(default=b"", repr=False)
    ended: float = 0.0
    problem: Problem | None = None
    work: asyncio.Task[None] = field(init=False, repr=False)


class Timelines:
    """The jobs of one gateway.

    Args:
        client: Connected to Triton.
        store: Where results go.
        settings: Limits.
    """

    def __init__(self, client: AsyncClient, store: Store, settings: Settings) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._jobs: dict[str, Job] = {}

    def start(
        self,
        data: bytes,
        filename: str,
        options: Mapping[str, Any],
        embedding: Embedding,
        observed: Observed,
    ) -> Job:
        """Begins a job.

        Args:
            data: The whole file.
            filename: The name of the upload.
            options: Arguments of `AsyncClient.timeline`.
            embedding: Where the segments' embeddings go: nowhere, into embedding.npy, or into the
                result.
            observed: The request's; the job takes it over, and is counted when it ends.

        Raises:
            Problem: Too many timelines are running.
        """
        running = sum(job.state == "running" for job in self._jobs.values())
        if running >= self._settings.max_recordings:
            raise overloaded(
                f"{running} recordings are under way, and there is no room for more: try "
                "again in a minute",
                retry_seconds=60,
            )
        job = Job(secrets.token_urlsafe(16), filename)
        self._jobs[job.id] = job
        job.work = asyncio.create_task(
            self._run(job, data, options, embedding, observed, observed.hand_over())
        )
        self.prune()
        return job

    def find(self, key: str) -> Job:
        """The job with an id; raises Problem if there is none."""
        if key not in self._jobs:
            raise Problem(
                404,
                "not_found",
                f"there is no timeline {key!r}: it may be too old, or the gateway was restarted",
            )
        return self._jobs[key]

    def result(self, job: Job) -> bytes | None:
        """The result of a job as JSON; None until there is one.

        Raises:
            Problem: It was saved and is no longer kept.
        """
        if job.folder is None:
            return job.held or None
        try:
            path = self._store.find(job.folder, RESULT)
            return job.held or path.read_bytes()
        except FileNotFoundError as error:
            raise Problem(404, "not_found", str(error)) from error

    def release(self, folder: str) -> None:
        """Drops the copy in memory of a result that was removed."""
        for job in self._jobs.values():
            if job.folder == folder:
                job.held = b""

    async def wait(self, job: Job, seconds: float) -> None:
        """Returns when a job ends, or after ``seconds``."""
        await asyncio.wait([job.work], timeout=seconds)

    async def cancel(self, job: Job) -> None:
        """Cancels a job, in Triton as well; one that has ended does not change."""
        job.work.cancel()
        await asyncio.wait([job.work])

    async def close(self) -> None:
        """Cancels all jobs."""
        for job in self._jobs.values():
            await self.cancel(job)

    async def _run(
        self,
        job: Job,
        data: bytes,
        options: Mapping[str, Any],
        embedding: Embedding,
        observed: Observed,
        counting: ExitStack,
    ) -> None:
        began = time.monotonic()
        observed.model = TIMELINE_MODEL

        def progress(share: float) -> None:
            job.progress = share

        with counting:
            try:
                timeline = await self._client.timeline(
                    data,
                    embedding=embedding != "none",
                    progress=progress,
                    timeout=self._settings.recording_timeout,
                    **options,
                )
                info = await self._client.model_info()
                result: TimelineResult = {
                    **cast("TimelineResult", timeline.to_dict()),
                    "model": info.checkpoint,
                    "precision": info.precision,
                    "filename": job.filename,
                    "peak_hop": PEAK_HOP,
                    # For a picture: a hundredth is less than a pixel.
                    "peaks": [round(float(peak), 2) for peak in timeline.peaks],
                    "milliseconds": {"recognise": round((time.monotonic() - began) * 1000, 1)},
                }
                await asyncio.to_thread(self._keep, job, result, timeline, embedding)
                job.state, job.progress = "done", 1.0
                observed.seconds = timeline.duration
            except asyncio.CancelledError:
                job.state = observed.outcome = "cancelled"
            except (Emotion2VecError, OSError, Problem) as error:
                job.problem = error if isinstance(error, Problem) else problem_of(error)
                job.state, observed.outcome = "failed", job.problem.code
            except BaseException as error:
                job.state, job.problem = "failed", Problem(500, "failed", repr(error))
                raise
            finally:
                job.ended = time.monotonic()
                self.prune()

    def _keep(
        self, job: Job, result: TimelineResult, timeline: Timeline, embedding: Embedding
    ) -> None:
        """Saves a result.

        Keeps the job's answer in memory if it has more than the saved file.
        """
        numbers = None if embedding == "none" else timeline.embedding
        if embedding == "inline" and numbers is not None and numbers.size > MOST_INLINE:
            raise Problem(
                422,
                "bad_option",
                f"embedding is 'inline': {len(timeline.segments)} segments have {numbers.size} "
                f"numbers, and an answer takes {MOST_INLINE} at most: use 'file', or longer "
                "segments",
            )
        files = _files(timeline, numbers if embedding == "file" else None)
        answer = self._store.save(result, files, timeline.timestamp)
        if self._store.keeps:
            job.folder = PurePath(answer["output_dir"]).name
        if embedding == "inline":
            answer["embedding"] = [] if numbers is None else numbers
        if embedding == "inline" or not self._store.keeps:
            job.held = encoded(answer)

    def prune(self) -> None:
        """Forgets jobs that are over: the oldest, when there are too many or they hold too much."""
        over = [job for job in self._jobs.values() if job.state != "running"]
        over.sort(key=lambda job: job.ended)
        held = sum(len(job.held) for job in over)
        oldest = time.monotonic() - self._settings.keep_hours * 3600
        for job in over:
            too_much = held > HELD_BYTES and job is not over[-1]
            if not (len(self._jobs) > REMEMBERED or too_much or job.ended < oldest):
                break
            del self._jobs[job.id]
            held -= len(job.held)


def _files(timeline: Timeline, embedding: npt.NDArray[np.float32] | None) -> dict[str, bytes]:
    texts = {"csv": timeline.to_csv(), "srt": timeline.to_srt(), "vtt": timeline.to_vtt()}
    files = {f"timeline.{kind}": text.encode() for kind, text in texts.items()}
    return {**files, **npy(embedding)}
