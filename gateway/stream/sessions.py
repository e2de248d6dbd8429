"""All streams of a gateway: who may open one, and how they end."""

from __future__ import annotations

import asyncio

from fastapi import WebSocket

from emotion2vec_client import AsyncClient
from gateway.guard import response_of
from gateway.metrics import Metrics
from gateway.problems import Problem, overloaded
from gateway.settings import Settings
from gateway.stream.asking import Asker
from gateway.stream.session import Session


class Sessions:
    """Serves streams.

    Args:
        client: Connected to Triton.
        metrics: Counts the sessions and measurements.
        settings: Limits.
    """

    def __init__(self, client: AsyncClient, metrics: Metrics, settings: Settings) -> None:
        self._asker = Asker(client, settings)
        self._metrics = metrics
        self._settings = settings
        self._open: dict[Session, asyncio.Task[None] | None] = {}
        self._stopping = False

    async def serve(self, socket: WebSocket) -> None:
        """Serves one connection until it ends, or refuses it."""
        try:
            self._check(socket)
        except Problem as problem:
            await response_of(problem)(socket.scope, socket.receive, socket.send)
            return
        session = Session(socket, self._asker, self._metrics, self._settings)
        self._open[session] = asyncio.current_task()
        try:
            with self._metrics.session():
                await session.run()
        finally:
            del self._open[session]

    async def close(self, seconds: float) -> None:
        """Lets all sessions send their last measurements, for at most so many seconds."""
        self._stopping = True
        for session in self._open:
            session.end("stopping")
        if ending := [task for task in self._open.values() if task is not None]:
            await asyncio.wait(ending, timeout=seconds)

    def _check(self, socket: WebSocket) -> None:
        """Raises Problem if a stream may not be opened."""
        origin = socket.headers.get("origin")
        allowed = self._settings.cors_origins
        # Browsers let any page open a connection to any address, so we must look ourselves.
        if (
            origin is not None
            and origin.partition("://")[2] != socket.headers.get("host")
            and origin not in allowed
            and "*" not in allowed
        ):
            raise Problem(
                403,
                "wrong_origin",
                f"pages of {origin} may not open a stream here: E2V_CORS_ORIGINS allows them",
            )
        if self._stopping:
            raise Problem(503, "not_ready", "the gateway is stopping: try again in a moment")
        if len(self._open) >= self._settings.max_streams:
            raise overloaded(
                f"{len(self._open)} streams are open, and there is no room for more: try again in "
                "a second"
            )
