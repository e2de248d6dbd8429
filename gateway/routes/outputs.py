"""The endpoints for the results that are kept."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from gateway.handlers import documented
from gateway.problems import Problem
from gateway.recognition import Recogniser

router = APIRouter(tags=["recognition"])


@router.get(
    "/outputs/{folder}/{file}",
    response_class=FileResponse,
    responses={
        **documented(404),
        200: {"content": {"application/octet-stream": {}}, "description": "the file"},
    },
    summary="A file of a result",
)
async def output(request: Request, folder: str, file: str) -> FileResponse:
    """Serves the files of a result for as long as it is kept."""
    recogniser: Recogniser = request.app.state.recogniser
    try:
        return FileResponse(recogniser.store.find(folder, file))
    except FileNotFoundError as error:
        raise Problem(404, "not_found", str(error)) from error


@router.delete(
    "/outputs/{folder}",
    status_code=204,
    responses=documented(404, 507),
    summary="Remove a result",
)
async def remove(request: Request, folder: str) -> None:
    """Removes the folder with all its files."""
    recogniser: Recogniser = request.app.state.recogniser
    try:
        await asyncio.to_thread(recogniser.store.remove, folder)
    except FileNotFoundError as error:
        raise Problem(404, "not_found", str(error)) from error
    except OSError as error:
        raise Problem(
            507,
            "not_removed",
            f"the result could not be removed ({error}): make the gateway's outputs folder "
            "writable",
        ) from error
    request.app.state.timelines.release(folder)
