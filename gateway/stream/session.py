"""One connection: takes its messages, within limits, and ends it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import WebSocket, WebSocketDisconnect

from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.settings import Settings
from gateway.stream.asking import Asker
from gateway.stream.measuring import Measurer
from gateway.stream.messages import Append, Close, Format, Reason, Update, read

MESSAGE_BYTES = 2**20
"""Largest message: 5 s of 16-bit stereo at 48 kHz, or more in other formats."""

SEND_SECONDS = 30.0
"""A client that does not read for so long is gone."""

MOST_ERRORS = 100

CODES: dict[Reason, int] = {
    "closed": 1000,
    "idle": 1008,
    "too_long": 1008,
    "too_many_errors": 1008,
    "stopping": 1001,
}
"""Codes of RFC 6455 with which the connection is closed."""


class Session:
    """Serves one connection.

    Args:
        socket: Not accepted yet.
        asker: Shared by all sessions.
        metrics: Shared as well.
        settings: Limits.
    """

    def __init__(
        self, socket: WebSocket, asker: Asker, metrics: Metrics, settings: Settings
    ) -> None:
        self.id = uuid.uuid4().hex
        self._socket = socket
        self._asker = asker
        self._metrics = metrics
        self._settings = settings
        self._format = Format()
        self._measurer: Measurer | None = None
        self._errors = 0
        self._sending = asyncio.Lock()
        self._ending: Reason | None = None
        self._is_idle = False
        self._reading: asyncio.Task[Reason]
        self._tasks: asyncio.TaskGroup

    def end(self, reason: Reason) -> None:
        """Ends the session once everything that was read has been measured."""
        self._ending = self._ending or reason
        if self._is_idle:
            # Not within a message, whose audio would be lost.
            self._reading.cancel()

    async def run(self) -> None:
        """Serves until the client or a limit ends the session."""
        await self._socket.accept()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self._send({"type": "session.created", "id": self.id, **self._state})
                reason = await self._reason()
                await self._finish(reason)
        except* (WebSocketDisconnect, TimeoutError):
            pass  # The client has gone, and all that was asked for it is cancelled.

    async def _reason(self) -> Reason:
        """Reads until there is a reason to end."""
        self._reading = self._tasks.create_task(self._read())
        limit = self._settings.stream_seconds
        timer = asyncio.get_running_loop().call_later(limit, self.end, "too_long")
        try:
            await asyncio.wait([self._reading])
        finally:
            timer.cancel()
        if self._reading.cancelled() and self._ending is not None:
            return self._ending
        return self._reading.result()

    async def _read(self) -> Reason:
        while self._ending is None:
            try:
                self._is_idle = True
                async with asyncio.timeout(self._settings.stream_idle):
                    message = await self._socket.receive()
            except TimeoutError:
                return "idle"
            finally:
                self._is_idle = False
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            try:
                if await self._take(message):
                    return "closed"
            except Problem as problem:
                self._errors += 1
                await self._send({"type": "error", **problem.body()})
                if self._errors >= MOST_ERRORS:
                    return "too_many_errors"
        return self._ending

    async def _take(self, message: Mapping[str, Any]) -> bool:
        """Processes a message; returns whether it asks for the end."""
        data, text = message.get("bytes"), message.get("text")
        if len(data or text or "") > MESSAGE_BYTES:
            raise Problem(
                413,
                "too_large",
                f"the message has more than {MESSAGE_BYTES // 1024} KiB: send shorter ones",
            )
        if data is not None:
            await self._measuring().hear(data)
            return False
        received = read(text or "")
        if isinstance(received, Close):
            return True
        if isinstance(received, Append):
            audio = received.data()
            await self._measuring().hear(audio)
        elif isinstance(received, Update):
            await self._update(received.session)
        return False

    async def _update(self, form: Format) -> None:
        if self._measurer is not None:
            raise Problem(
                422,
                "bad_option",
                "session.update came after audio: open another stream for another format",
            )
        given = self._format.model_dump(exclude_unset=True) | form.model_dump(exclude_unset=True)
        self._format = Format.model_validate(given)
        await self._send({"type": "session.updated", **self._state})

    def _measuring(self) -> Measurer:
        """From now on the format cannot change."""
        if self._measurer is None:
            self._measurer = Measurer(
                self._format, self._asker, self._metrics, self._tasks, self._send
            )
        return self._measurer

    @property
    def _state(self) -> dict[str, Any]:
        return {"session": self._format.model_dump()}

    async def _finish(self, reason: Reason) -> None:
        """Sends the last measurements and the totals, and closes the connection."""
        totals = await self._measuring().finish()
        await self._send({"type": "session.closed", "reason": reason, **totals})
        await self._socket.close(CODES[reason])

    async def _send(self, message: Mapping[str, Any]) -> None:
        async with self._sending:
            await asyncio.wait_for(
                self._socket.send_text(orjson.dumps(message).decode()), SEND_SECONDS
            )
