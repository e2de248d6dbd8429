"""Middleware for every route: API keys, the size of uploads, and headers of the responses."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import Metrics
from gateway.problems import Problem, too_large
from gateway.tracing import describe

OPEN_PATHS = ("/health", "/ready")
"""Paths that need no key, for health checks."""

ENVELOPE_BYTES = 16 * 1024
"""Room in a multipart body for what surrounds each file."""

# Gradio's page evaluates templates and draws from blobs; nothing may come from elsewhere.
CONTENT_POLICY = (
    "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'"
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CONTENT_POLICY,
}


def response_of(problem: Problem) -> JSONResponse:
    """The JSON response for a problem."""
    return JSONResponse(problem.body(), problem.status_code, problem.headers)


VERSIONED = "/assets/"
"""Files of Gradio's page whose names change with their contents."""

CACHE_VERSIONED = "max-age=31536000, immutable"


class BrowserHeaders:
    """Tells browsers what the page may do, and to cache its scripts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if VERSIONED in scope["path"] and message["status"] == 200:
                    headers["Cache-Control"] = CACHE_VERSIONED
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Keys:
    """Lets requests with one of the keys through; without keys, all requests.

    A key comes as ``Authorization: Bearer KEY``, as ``X-API-Key: KEY``, or as the password of
    HTTP Basic authentication, which browsers ask for by themselves when they open the page.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[SecretStr]) -> None:
        self._app = app
        self._keys = [key.get_secret_value().encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            not self._keys
            or scope["type"] not in ("http", "websocket")
            or scope["path"] in OPEN_PATHS
            or self._accepts(Headers(scope=scope))
        ):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            401,
            "key_needed",
            "this service needs an API key: send it as 'Authorization: Bearer KEY'; in a browser, "
            "any user name and the key as the password",
            {"WWW-Authenticate": 'Basic realm="emotion2vec"'},
        )
        await response_of(problem)(scope, receive, send)

    def _accepts(self, headers: Headers) -> bool:
        given = headers.get("x-api-key", "")
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = value.strip()
        elif scheme.lower() == "basic":
            try:
                given = base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        # Compare every key in constant time, so that the time reveals nothing.
        matches = [hmac.compare_digest(key, given.encode()) for key in self._keys]
        return any(matches)


@dataclass(frozen=True)
class Upload:
    """What an endpoint accepts.

    Attributes:
        source: Its name in the metrics.
        limit: Largest file, in bytes.
        files: Most files in one request.
    """

    source: str
    limit: int
    files: int = 1

    @property
    def most(self) -> int:
        """Largest request, in bytes."""
        return (self.limit + ENVELOPE_BYTES) * self.files


class Uploads:
    """Refuses an upload to the API as soon as it is too large, and counts every request.

    Args:
        app: The next application.
        accepted: What each path prefix accepts; the first match counts.
        metrics: Counts every request to the API.
    """

    def __init__(self, app: ASGIApp, accepted: Mapping[str, Upload], metrics: Metrics) -> None:
        self._app = app
        self._accepted = accepted
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = self._find(scope)
        if upload is None:
            await self._app(scope, receive, send)
            return
        most = upload.most
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                # FastAPI turns any HTTPException while it reads a body into a response.
                raise too_large(upload.limit, upload.files)
            return message

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = observed.id
                # Now, because the span ends with the response.
                describe(observed)
            await send(message)

        with self._metrics.request(upload.source) as observed:
            scope.setdefault("state", {})["observed"] = observed
            stated = Headers(scope=scope).get("content-length", "")
            if stated.isdigit() and int(stated) > most:
                problem = too_large(upload.limit, upload.files)
                observed.outcome = problem.code
                await response_of(problem)(scope, receive, named)
            else:
                await self._app(scope, counted, named)
                # A client that is gone gets no response.
                describe(observed)

    def _find(self, scope: Scope) -> Upload | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        matches = (self._accepted[p] for p in self._accepted if scope["path"].startswith(p))
        return next(matches, None)


def observe(request: Request, problem: Problem) -> None:
    """Records a problem as the outcome of its request, if that is counted."""
    observed = request.scope.get("state", {}).get("observed")
    if observed is not None:
        observed.outcome = problem.code
