"""One stream: takes its messages, follows its speakers and sends what is measured."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from fastapi import WebSocket, WebSocketDisconnect

from audio.encodings import Unpacker
from audio.layout import SAMPLE_RATE
from audio.live import Ended, Event, Heard, Speaker, Started
from audio.segmentation import Piece
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.schema import Recognition
from gateway.settings import Settings
from gateway.stream.arrivals import Arrivals
from gateway.stream.asking import Asker
from gateway.stream.messages import Append, Close, Closed, Format, Outgoing, Update, read

MESSAGE_BYTES = 2**20
"""Largest message: 5 s of 16-bit stereo at 48 kHz, or more in other formats."""

SLICE_SECONDS = 0.1
"""Audio that is processed before other sessions have a turn."""

PENDING_SECONDS = 30.0
"""Audio that may wait for its final measurements; a client that sends more has to wait."""

SEND_SECONDS = 30.0
"""A client that does not read for so long is gone."""

MOST_ERRORS = 100

Reason = Literal["closed", "idle", "too_long", "too_many_errors", "stopping"]

CODES: dict[Reason, int] = {
    "closed": 1000,
    "idle": 1008,
    "too_long": 1008,
    "too_many_errors": 1008,
    "stopping": 1001,
}
"""Codes of RFC 6455 with which the connection is closed."""


@dataclass
class _Channel:
    """A speaker, and what is asked about it.

    Attributes:
        speaker: Follows the audio.
        early: The piece that will be final if no more speech follows, and its answer.
        interim: The interim measurement that is asked for.
        measured: The sample up to which final measurements are asked for.
    """

    speaker: Speaker
    early: tuple[Piece, asyncio.Task[Recognition | None]] | None = None
    interim: asyncio.Task[None] | None = None
    measured: int = 0


@dataclass
class _Totals:
    final: int = 0
    interim: int = 0
    skipped: int = 0
    failed: int = 0


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
        self._unpacker: Unpacker | None = None
        self._channels: list[_Channel] = []
        self._arrivals = Arrivals()
        self._frames = 0
        self._totals = _Totals()
        self._errors = 0
        self._waiting = 0.0  # Seconds of audio that wait for final measurements.
        self._room = asyncio.Event()
        self._delivered: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    def stop(self) -> None:
        """Ends the session after the measurements of what has arrived."""
        self._stopping.set()

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
        stopping = self._tasks.create_task(self._stopping.wait())
        reading = self._tasks.create_task(self._read())
        try:
            done, _ = await asyncio.wait(
                [reading, stopping],
                timeout=self._settings.stream_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reading in done:
                return reading.result()
            return "stopping" if stopping in done else "too_long"
        finally:
            reading.cancel()
            stopping.cancel()

    async def _read(self) -> Reason:
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), self._settings.stream_idle)
            except TimeoutError:
                return "idle"
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
            await self._hear(data)
            return False
        received = read(text or "")
        if isinstance(received, Close):
            return True
        if isinstance(received, Append):
            await self._hear(received.data())
        elif isinstance(received, Update):
            await self._update(received.session)
        return False

    async def _update(self, form: Format) -> None:
        if self._unpacker is not None:
            raise Problem(
                422,
                "bad_option",
                "session.update came after audio: open another stream for another format",
            )
        self._format = form
        await self._send({"type": "session.updated", **self._state})

    @property
    def _state(self) -> dict[str, Any]:
        return {"session": self._format.model_dump()}

    async def _hear(self, data: bytes) -> None:
        if self._unpacker is None:
            form = self._format
            self._unpacker = Unpacker(form.encoding, form.channels)
            self._channels = [
                _Channel(Speaker(form.rate, form.interval)) for _ in range(form.channels)
            ]
        samples = self._unpacker.push(data)
        self._frames += len(samples[0])
        self._arrivals.add(self._frames / self._format.rate)
        step = int(SLICE_SECONDS * self._format.rate)
        for start in range(0, len(samples[0]), step):
            for number, channel in enumerate(self._channels):
                part = np.ascontiguousarray(samples[number][start : start + step])
                await self._follow(number, channel.speaker.push(part))
            await asyncio.sleep(0)

    async def _follow(self, number: int, events: Iterable[Event]) -> None:
        channel = self._channels[number]
        for event in events:
            if isinstance(event, Started):
                await self._send(
                    {"type": "speech.started", "channel": number, "start": _ms(event.at)}
                )
            elif isinstance(event, Ended):
                await self._send({"type": "speech.ended", "channel": number, "end": _ms(event.at)})
            elif event.kind == "final":
                await self._final(number, channel, event)
            elif event.kind == "early":
                self._early(channel, event)
            else:
                self._interim(number, channel, event)

    def _early(self, channel: _Channel, heard: Heard) -> None:
        """Asks now for what will be final if no more speech follows."""
        if channel.interim is not None:
            # The final measurement must not wait for it.
            channel.interim.cancel()
        if channel.early is not None:
            channel.early[1].cancel()
        asking = self._asker.try_once(heard.samples, self._format)
        channel.early = heard.piece, self._tasks.create_task(asking)

    def _interim(self, number: int, channel: _Channel, heard: Heard) -> None:
        if channel.interim is not None and not channel.interim.done():
            self._skip()
            return
        channel.interim = self._tasks.create_task(self._measure_interim(number, channel, heard))

    async def _measure_interim(self, number: int, channel: _Channel, heard: Heard) -> None:
        try:
            result = await self._asker.try_once(heard.samples, self._format)
            if result is None or heard.piece.end <= channel.measured:
                self._skip()
                return
        except asyncio.CancelledError:
            self._skip()
            raise
        self._totals.interim += 1
        await self._report(number, "interim", heard, {"result": result})

    def _skip(self) -> None:
        self._totals.skipped += 1
        self._metrics.measured("skipped")

    async def _final(self, number: int, channel: _Channel, heard: Heard) -> None:
        known = None
        if channel.early is not None:
            piece, asked = channel.early
            if piece == heard.piece:
                known = asked
            else:
                asked.cancel()
            channel.early = None
        channel.measured = heard.piece.end
        seconds = len(heard.samples) / SAMPLE_RATE
        self._waiting += seconds
        self._delivered = self._tasks.create_task(
            self._measure_final(number, heard, known, seconds, self._delivered)
        )
        # A client that sends faster than the model answers has to wait here.
        while self._waiting > PENDING_SECONDS:
            self._room.clear()
            await self._room.wait()

    async def _measure_final(
        self,
        number: int,
        heard: Heard,
        known: asyncio.Task[Recognition | None] | None,
        seconds: float,
        before: asyncio.Task[None] | None,
    ) -> None:
        problem = None
        try:
            result = await known if known is not None else None
            if result is None:
                result = await self._asker.insist(heard.samples, self._format)
        except Problem as error:
            problem = error
        if before is not None:
            await before
        self._waiting -= seconds
        self._room.set()
        piece = heard.piece
        if problem is not None:
            self._totals.failed += 1
            self._metrics.measured("failed")
            where = {"channel": number, "start": _ms(piece.start), "end": _ms(piece.end)}
            await self._send({"type": "error", **problem.body(), **where})
            return
        self._totals.final += 1
        speech = round(piece.speech / (piece.end - piece.start), 4)
        await self._report(number, "final", heard, {"speech": speech, "result": result})

    async def _report(self, number: int, kind: str, heard: Heard, more: dict[str, Any]) -> None:
        piece = heard.piece
        where = {"channel": number, "start": _ms(piece.start), "end": _ms(piece.end)}
        await self._send({"type": "measurement", "kind": kind, **where, **more})
        self._metrics.measured(kind, self._arrivals.age(heard.decided / SAMPLE_RATE))

    async def _finish(self, reason: Reason) -> None:
        """Sends the last measurements and the totals, and closes the connection."""
        for number, channel in enumerate(self._channels):
            await self._follow(number, channel.speaker.finish())
            if channel.interim is not None:
                channel.interim.cancel()
            if channel.early is not None:
                channel.early[1].cancel()
        if self._delivered is not None:
            await self._delivered
        closed: Closed = {
            "type": "session.closed",
            "reason": reason,
            "duration": round(self._frames / self._format.rate, 4),
            "speech": [round(each.speaker.speech / SAMPLE_RATE, 4) for each in self._channels],
            "final": self._totals.final,
            "interim": self._totals.interim,
            "skipped": self._totals.skipped,
            "failed": self._totals.failed,
        }
        await self._send(closed)
        await self._socket.close(CODES[reason])

    async def _send(self, message: Outgoing | dict[str, Any]) -> None:
        async with self._sending:
            await asyncio.wait_for(
                self._socket.send_text(orjson.dumps(message).decode()), SEND_SECONDS
            )


def _ms(sample: int) -> float:
    """Milliseconds from the start; exact, as a chunk has 32 ms."""
    milliseconds = sample * 1000 / SAMPLE_RATE
    return int(milliseconds) if milliseconds.is_integer() else milliseconds
