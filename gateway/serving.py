"""The HTTP server: how it logs, and how it ends without losing requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from socket import socket

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.guard import observe, response_of
from gateway.problems import RETRY_SECONDS, Problem
from server import log

FLUSH_SECONDS = 2
"""Time for the last responses to reach slow clients."""

KEEP_ALIVE_SECONDS = 75
"""Longer than most clients and proxies keep an idle connection (httpx: 5 s, nginx: 60 s).
Otherwise a request on it would now and then meet its end, and fail."""

CHECK_SECONDS = 0.1

LARGEST_MESSAGE = 4 * 2**20
"""Bytes. A stream refuses smaller messages in a way that its client can read."""

SAID_ELSEWHERE = (
    # For each response that was cut off; our own line counts them.
    "ASGI callable returned without completing response.",
    # For each stream that was refused, although the client gets our response.
    "ASGI callable returned without completing handshake.",
)
"""Errors of Uvicorn's that are none."""


class Server(uvicorn.Server):
    """Uvicorn that answers accepted requests for ``grace`` seconds, and refuses the rest in JSON.

    Args:
        app: An application with the middleware `CutOff`.
        grace: Seconds that answers may take after the gateway is told to stop.
        on_stop: Called when the gateway is told to stop, and awaited.
    """

    def __init__(self, app: ASGIApp, grace: float, on_stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # If the startup fails, the server must not run with half of the application.
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                ws_max_size=LARGEST_MESSAGE,
                # A client that has to wait cannot answer pings behind its own audio; a stream has
                # limits of its own for clients that are gone.
                ws_ping_timeout=None,
                # Audio does not get smaller, and each connection would hold its buffers.
                ws_per_message_deflate=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                # Only for clients that do not read their responses: `_cut_off` comes first.
                timeout_graceful_shutdown=int(grace) + 1 + FLUSH_SECONDS,
            )
        )
        self._grace = grace
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stops listening, waits for the responses, and ends."""
        for server in self.servers:
            server.close()
        cutting = asyncio.create_task(self._cut_off())
        stopping = asyncio.ensure_future(self._on_stop())
        # A second Ctrl-C ends it at once.
        while not stopping.done() and not self.force_exit:
            await asyncio.wait([stopping], timeout=CHECK_SECONDS)
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut_off(self) -> None:
        await asyncio.sleep(self._grace)
        running = list(self.server_state.tasks)
        for task in running:
            task.cancel()
        if running:
            logging.getLogger(__name__).warning(
                "%d requests had no answer %g s after the gateway was told to stop, and were "
                "refused with 503 (E2V_TIMEOUT sets how long they may take)",
                len(running),
                self._grace,
            )


class CutOff:
    """Answers 503 to requests that `Server` cancels when its grace is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            problem = Problem(
                503,
                "not_ready",
                "the gateway is stopping and could not finish this request: try again in a moment",
                {"Retry-After": str(RETRY_SECONDS)},
            )
            observe(Request(scope), problem)
            if not started:
                await response_of(problem)(scope, receive, send)


def configure_log(kind: str) -> None:
    """Logs without Uvicorn's lines about what is no error."""
    log.configure(kind, lambda record: record.getMessage() not in SAID_ELSEWHERE)
