"""The REST endpoint and what operators ask for."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from emotion2vec_client import Granularity
from gateway.guard import observe, response_of
from gateway.problems import Problem
from gateway.recognition import Recogniser
from gateway.schema import ProblemBody, Result, Status

MEANINGS = {
    400: "no file, or an empty one",
    401: "an API key is needed",
    413: "the file is too large",
    415: "not audio, or audio of a kind that is not supported",
    422: "the clip is too short, too long or damaged, or an option is unknown",
    429: "too many requests; Retry-After says when to try again",
    502: "Triton failed",
    503: "the model is not ready",
    504: "the answer did not come in time",
    507: "the result could not be saved",
}

CODES = {404: "not_found", 405: "wrong_method"}
"""Codes of the errors that FastAPI itself finds."""

EXPECTED = {
    "granularity": "use 'utterance' or 'frame'",
    "extract_embedding": "use 'true' or 'false'",
    "segmentation": "use 'vad' or 'fixed'",
    "wait": "use 0 to 60 seconds",
    **dict.fromkeys(("min_segment", "max_segment", "window", "hop"), "use a number of seconds"),
}
"""What each option takes."""

Answer = TypeVar("Answer")

router = APIRouter()


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its description."""
    return {
        status: {"model": ProblemBody, "description": MEANINGS.get(status, "there is none")}
        for status in statuses
    }


async def only_known_fields(request: Request) -> None:
    """Refuses a form with fields that the route does not know, or with one given twice.

    An option that is misspelt would be ignored otherwise.
    """
    known = [field.alias for field in request.scope["route"].dependant.body_params]
    form = await request.form()
    if "audio" not in form:
        return  # That it is missing is what there is to say.
    for name in form:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
            raise Problem(422, "bad_option", f"{name!r} is no field of this form: {hint}")
        if len(form.getlist(name)) > 1:
            raise Problem(
                422,
                "bad_option",
                f"{name!r} is given {len(form.getlist(name))} times: send it once",
            )


@router.post("/api/predict", include_in_schema=False, dependencies=[Depends(only_known_fields)])
@router.post(
    "/api/predict/",
    dependencies=[Depends(only_known_fields)],
    response_model=Result,
    response_model_exclude_unset=True,
    responses=documented(*MEANINGS),
    tags=["recognition"],
    summary="Recognise the emotion of one recording",
)
async def predict(
    request: Request,
    audio: Annotated[
        UploadFile, File(description="WAV, MP3, M4A, FLAC or OGG; up to 30 s and 10 MB")
    ],
    granularity: Annotated[
        Granularity, Form(description="one result for the whole, or one for each 20 ms as well")
    ] = "utterance",
    extract_embedding: Annotated[
        bool, Form(description="whether to leave embedding.npy, [1024] or [T, 1024]")
    ] = False,
) -> dict[str, Any]:
    """Answers with nine scores, and leaves a folder with the audio that the model heard.

    A file alone is enough. Its format is seen from its content, not from its name.
    """
    recogniser: Recogniser = request.app.state.recogniser
    data = await audio.read()
    filename = audio.filename or "audio"
    return await unless_gone(
        request, recogniser.recognise(data, filename, granularity, extract_embedding)
    )


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
            raise Problem(499, "gone", "the client hung up before the answer")
        return await working
    finally:
        watching.cancel()
        working.cancel()


@router.get(
    "/outputs/{folder}/{file}",
    response_class=FileResponse,
    responses={
        **documented(404),
        200: {"content": {"application/octet-stream": {}}, "description": "the file"},
    },
    tags=["recognition"],
    summary="A file of a result",
)
async def output(request: Request, folder: str, file: str) -> FileResponse:
    """Serves the files that recognitions left, for as long as they are kept."""
    recogniser: Recogniser = request.app.state.recogniser
    try:
        return FileResponse(recogniser.store.find(folder, file))
    except FileNotFoundError as error:
        raise Problem(404, "not_found", str(error)) from error


@router.get("/health", tags=["operation"], summary="Whether the gateway is alive")
async def health() -> Status:
    """Answers as long as the gateway runs, whatever Triton does."""
    return Status(status="ok")


@router.get(
    "/ready", responses=documented(503), tags=["operation"], summary="Whether it can recognise"
)
async def ready(request: Request) -> Status:
    """Answers 200 when every model of Triton is ready, 503 until then."""
    await request.app.state.recogniser.check_ready()
    return Status(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format"}},
    tags=["operation"],
    summary="Counts for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Requests by source and outcome, a histogram of their times, and those in flight."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def add_handlers(app: FastAPI) -> None:
    """Makes every error a `Problem` in JSON."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        observe(request, problem)
        return response_of(problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return await on_problem(request, _problem_of_validation(error))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        code = CODES.get(error.status_code, "bad_request")
        sentence = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
        problem = Problem(error.status_code, code, sentence, error.headers)
        return await on_problem(request, problem)


def _problem_of_validation(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    field = str(first["loc"][-1])
    if field not in EXPECTED:
        return Problem(
            400,
            "missing_file",
            "the request has no file: send a multipart form with the recording in the field "
            "'audio'",
        )
    return Problem(422, "bad_option", f"{field} is {first['input']!r}: {EXPECTED[field]}")
