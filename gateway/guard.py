"""What stands before every route: API keys, the size of uploads, and headers of the answers."""

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

OPEN_PATHS = ("/health", "/ready")
"""Asked for by what keeps the service running, which has no key."""

ENVELOPE_BYTES = 16 * 1024
"""What a multipart body may have around each of its files."""

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
    """The JSON answer for a problem."""
    return JSONResponse(problem.body(), problem.status_code, problem.headers)


VERSIONED = "/assets/"
"""Files of Gradio's page that have another name when they have changed."""

CACHE_VERSIONED = "max-age=31536000, immutable"


class BrowserHeaders:
    """Tells browsers what the page may do, and to keep its scripts."""

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
    """Lets requests in that have one of the keys; without keys, all.

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
        # Every key is compared, each in constant time: how long it takes says nothing.
        matches = [hmac.compare_digest(key, given.encode()) for key in self._keys]
        return any(matches)


@dataclass(frozen=True)
class Door:
    """What may come in at one address.

    Attributes:
        source: What the metrics call it.
        limit: Bytes of a file.
        files: In one request.
    """

    source: str
    limit: int
    files: int = 1

    @property
    def most(self) -> int:
        """Bytes of a request."""
        return (self.limit + ENVELOPE_BYTES) * self.files


class Uploads:
    """Refuses an upload to the API as soon as it is too large, and counts what became of each.

    Args:
        app: What comes next.
        doors: By how the path begins; the first that fits counts.
        metrics: Told of every request to the API.
    """

    def __init__(self, app: ASGIApp, doors: Mapping[str, Door], metrics: Metrics) -> None:
        self._app = app
        self._doors = doors
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = self._door(scope)
        if door is None:
            await self._app(scope, receive, send)
            return
        most = door.most
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                # FastAPI answers with it, as with every HTTPException while it reads a body.
                raise too_large(door.limit, door.files)
            return message

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = observed.id
            await send(message)

        with self._metrics.request(door.source) as observed:
            scope.setdefault("state", {})["observed"] = observed
            stated = Headers(scope=scope).get("content-length", "")
            if stated.isdigit() and int(stated) > most:
                problem = too_large(door.limit, door.files)
                observed.outcome = problem.code
                await response_of(problem)(scope, receive, named)
            else:
                await self._app(scope, counted, named)

    def _door(self, scope: Scope) -> Door | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return next((self._doors[p] for p in self._doors if scope["path"].startswith(p)), None)


def observe(request: Request, problem: Problem) -> None:
    """Puts a problem into the metrics of its request, if that is counted."""
    observed = request.scope.get("state", {}).get("observed")
    if observed is not None:
        observed.outcome = problem.code
