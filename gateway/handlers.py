"""Turns every error into a `Problem` in JSON, and describes them for OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route

from gateway.forms import is_form, missing_file, problem_of_validation
from gateway.guard import observe, response_of
from gateway.problems import Problem, hung_up
from gateway.schema import ProblemBody

MEANINGS = {
    400: "no file, or an empty one",
    401: "an API key is needed",
    404: "there is no such job, result or file",
    413: "the file is too large",
    415: "not audio, or audio of a kind that is not supported",
    422: "the clip is too short, too long or damaged, or an option is unknown",
    429: "too many requests; Retry-After says when to try again",
    502: "Triton failed",
    503: "the model is not ready",
    504: "the answer did not come in time",
    507: "the result could not be saved",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its OpenAPI description."""
    return {status: {"model": ProblemBody, "description": MEANINGS[status]} for status in statuses}


def add_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Makes every error a `Problem` in JSON.

    Args:
        app: The application.
        routes: Its routes, to find the methods that an address takes.
    """

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        observe(request, problem)
        return response_of(problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return await on_problem(request, problem_of_validation(error))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        called = f"{request.method} {request.url.path}"
        if error.status_code == 404:
            problem = Problem(404, "not_found", f"{called}: no such address; /docs lists all")
        elif error.status_code == 405:
            allowed = _allowed(request, routes) or "GET"
            sentence = f"{request.url.path} does not take {request.method}: use {allowed}"
            problem = Problem(405, "wrong_method", sentence, {"Allow": allowed})
        elif request.method == "POST" and not is_form(request):
            # Otherwise any other body would be reported as a broken form.
            problem = missing_file()
        elif isinstance(error.__cause__, ClientDisconnect):
            problem = hung_up()
        else:
            detail = error.detail.rstrip(".")
            sentence = f"{called}: {detail}; /docs says what to send"
            problem = Problem(error.status_code, "bad_request", sentence, error.headers)
        return await on_problem(request, problem)

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> JSONResponse:
        # The log has the traceback.
        return response_of(
            Problem(
                500,
                "failed",
                "the gateway has an internal error: try again, and if that does not help, see its "
                "log",
            )
        )


def _allowed(request: Request, routes: Sequence[BaseRoute]) -> str:
    """The methods that an address takes."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
            methods |= route.methods or set()
    return ", ".join(sorted(methods - {"HEAD"}))
