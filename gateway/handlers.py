"""Every error as a `Problem` in JSON, and how the description names them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.forms import problem_of_validation
from gateway.guard import observe, response_of
from gateway.problems import Problem
from gateway.schema import ProblemBody

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


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its description."""
    return {
        status: {"model": ProblemBody, "description": MEANINGS.get(status, "there is none")}
        for status in statuses
    }


def add_handlers(app: FastAPI) -> None:
    """Makes every error a `Problem` in JSON."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        observe(request, problem)
        return response_of(problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return await on_problem(request, problem_of_validation(error))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        code = CODES.get(error.status_code, "bad_request")
        sentence = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
        problem = Problem(error.status_code, code, sentence, error.headers)
        return await on_problem(request, problem)
