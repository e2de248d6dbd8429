"""The endpoints for long recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile

from emotion2vec_client import Channels, Segmentation
from gateway.answers import response_with, unless_gone
from gateway.forms import (
    Embedding,
    ExtractEmbedding,
    check_options,
    choose_embedding,
    only_known_fields,
)
from gateway.handlers import documented
from gateway.outputs import short_name
from gateway.problems import RETRY_SECONDS, Problem
from gateway.schema import TimelineJob
from gateway.timelines import Job, Timelines

PATH = "/api/timeline/"
MAX_WAIT = 60

router = APIRouter(tags=["timeline"])


@router.post(
    PATH[:-1],
    include_in_schema=False,
    status_code=202,
    dependencies=[Depends(only_known_fields)],
)
@router.post(
    PATH,
    dependencies=[Depends(only_known_fields)],
    status_code=202,
    response_model=TimelineJob,
    responses={
        202: {"description": "running; Location is the job's address"},
        200: {"model": TimelineJob, "description": "done within `wait`"},
        **documented(400, 401, 413, 415, 422, 429, 502, 503, 504, 507),
    },
    summary="Recognise emotion over time in a long recording",
)
async def start(
    request: Request,
    audio: Annotated[
        UploadFile, File(description="WAV, MP3, M4A, FLAC or OGG; up to two hours and 200 MB")
    ],
    segmentation: Annotated[
        Segmentation, Form(description="vad: cut at pauses; fixed: windows of equal length")
    ] = "vad",
    min_segment: Annotated[float | None, Form(description="vad: seconds, 1 if not given")] = None,
    max_segment: Annotated[float | None, Form(description="vad: seconds, 10 if not given")] = None,
    window: Annotated[float | None, Form(description="fixed: seconds, 3 if not given")] = None,
    hop: Annotated[
        float | None, Form(description="fixed: seconds, the window if not given")
    ] = None,
    channels: Annotated[
        Channels, Form(description="mixed: hear their mean; separate: each is a speaker")
    ] = "mixed",
    speakers: Annotated[
        int | Literal["auto"],
        Form(description="how many voices to tell apart, up to 8, or auto; 1 tells none apart"),
    ] = 1,
    names: Annotated[
        list[str],
        Form(description="of the speakers: by channel, or in the order of their first words"),
    ] = [],  # noqa: B006
    embedding: Annotated[
        Embedding | None,
        Form(
            description="none (the default); file: save embedding.npy, [N, 1024]; inline: the "
            "same numbers in the result"
        ),
    ] = None,
    extract_embedding: ExtractEmbedding = None,
    wait: Annotated[
        float,
        Form(ge=0, le=MAX_WAIT, description="seconds to wait for the result before answering"),
    ] = 0,
) -> Response:
    """Answers 202 with a job to ask about, or with the result if it is there within `wait`.

    The job continues if the client disconnects after this answer; DELETE cancels it.
    """
    timelines = _timelines(request)
    wanted = choose_embedding(embedding, extract_embedding, request.app.state.recogniser.store)
    seconds = {
        "min_segment": min_segment,
        "max_segment": max_segment,
        "window": window,
        "hop": hop,
    }
    options = {
        "segmentation": segmentation,
        "channels": channels,
        "speakers": speakers,
        "names": names,
    }
    check_options({**options, "seconds": seconds})
    data = await audio.read()
    await audio.close()
    name = short_name(audio.filename)
    job = timelines.start(data, name, {**options, **seconds}, wanted, request.state.observed)
    del data
    try:
        await unless_gone(request, timelines.wait(job, wait))
    except Problem:
        # The client does not know this job.
        await timelines.cancel(job)
        raise
    if job.problem is not None:
        raise job.problem
    headers = {"Location": PATH + job.id}
    if job.state == "running":
        headers["Retry-After"] = str(RETRY_SECONDS)
    return _answer(timelines, job, 202 if job.state == "running" else 200, headers)


@router.get(
    PATH + "{job}",
    response_model=TimelineJob,
    responses=documented(404),
    summary="Progress and result of a timeline",
)
async def progress(request: Request, job: str) -> Response:
    """Has `result` when the job is done, and `problem` when it failed."""
    timelines = _timelines(request)
    return _answer(timelines, timelines.find(job))


@router.delete(
    PATH + "{job}",
    response_model=TimelineJob,
    responses=documented(404),
    summary="Cancel a timeline",
)
async def cancel(request: Request, job: str) -> Response:
    """Cancels the work in Triton as well; a finished job does not change."""
    timelines = _timelines(request)
    found = timelines.find(job)
    await timelines.cancel(found)
    return _answer(timelines, found)


def _timelines(request: Request) -> Timelines:
    timelines: Timelines = request.app.state.timelines
    return timelines


def _answer(
    timelines: Timelines,
    job: Job,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    answer: dict[str, object] = {
        "id": job.id,
        "status": job.state,
        "progress": round(job.progress, 4),
        "filename": job.filename,
        "url": PATH + job.id,
    }
    if (result := timelines.result(job)) is not None:
        # Its text, as it was saved: there is no need to parse it.
        answer["result"] = orjson.Fragment(result)
    if job.problem is not None:
        answer["problem"] = job.problem.body()
    return response_with(answer, status, headers)
