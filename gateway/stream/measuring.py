"""What is measured of a stream: asks about its speakers, and sends the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from audio.encodings import Unpacker
from audio.layout import SAMPLE_RATE
from audio.live import Ended, Event, Heard, Speaker, Started
from audio.resampling import mix
from audio.segmentation import CHUNK, Piece
from audio.speech import count_speaking
from emotion2vec_client import Segment
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.stream.arrivals import Arrivals
from gateway.stream.asking import Asker, Found
from gateway.stream.messages import Format

SLICE_SECONDS = 0.1
"""Audio that is processed before other sessions have a turn."""

PENDING_SECONDS = 30.0
"""Audio that may wait for its final measurements; a client that sends more has to wait."""


@dataclass
class _Channel:
    """A speaker, and what is asked about it.

    Attributes:
        name: Of the speaker; None for the only one.
        speaker: Follows the audio.
        early: The piece that will be final if no more speech follows, and its answer.
        interim: The interim measurement that is asked for.
        measured: The sample up to which final measurements are asked for.
        segments: The final measurements, without their frames.
    """

    name: str | None
    speaker: Speaker
    early: tuple[Piece, asyncio.Task[Found | None]] | None = None
    interim: asyncio.Task[None] | None = None
    measured: int = 0
    segments: list[Segment] = field(default_factory=list)


@dataclass
class _Counts:
    final: int = 0
    interim: int = 0
    skipped: int = 0
    failed: int = 0


class Measurer:
    """Measures one stream.

    Args:
        form: What the audio is.
        asker: Shared by all streams.
        metrics: Shared as well.
        tasks: Ends what is asked when the stream ends.
        send: Sends a message to the client.
    """

    def __init__(
        self,
        form: Format,
        asker: Asker,
        metrics: Metrics,
        tasks: asyncio.TaskGroup,
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        self._format = form
        self._asker = asker
        self._metrics = metrics
        self._tasks = tasks
        self._send = send
        self._unpacker = Unpacker(form.encoding, form.channels)
        self._channels = [
            _Channel(name, Speaker(form.rate, form.interval)) for name in form.speakers
        ]
        self._arrivals = Arrivals()
        self._frames = 0
        self._counts = _Counts()
        self._waiting = 0.0  # Seconds of audio that wait for final measurements.
        self._room = asyncio.Event()
        self._delivered: asyncio.Task[None] | None = None

    async def hear(self, data: bytes) -> None:
        """Takes the next audio; waits while too much of it has no final measurement yet."""
        samples = self._unpacker.push(data)
        if self._format.mixed:
            samples = [mix(samples)]
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
                who = self._who(number)
                await self._send({"type": "speech.started", **who, "start": _ms(event.at)})
            elif isinstance(event, Ended):
                who = self._who(number)
                await self._send({"type": "speech.ended", **who, "end": _ms(event.at)})
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
            found = await self._asker.try_once(heard.samples, self._format)
            if found is None or heard.piece.end <= channel.measured:
                self._skip()
                return
        except asyncio.CancelledError:
            self._skip()
            raise
        self._counts.interim += 1
        await self._report(number, "interim", heard, found, {})

    def _skip(self) -> None:
        self._counts.skipped += 1
        self._metrics.measured("skipped")

    async def _final(self, number: int, channel: _Channel, heard: Heard) -> None:
        known = None
        if channel.early is not None:
            piece, asked = channel.early
            # Else it may be the next piece, if speech ends in two.
            if piece == heard.piece:
                known, channel.early = asked, None
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
        known: asyncio.Task[Found | None] | None,
        seconds: float,
        before: asyncio.Task[None] | None,
    ) -> None:
        try:
            found: Found | Problem | None = None if known is None else await known
            found = found or await self._asker.insist(heard.samples, self._format)
        except Problem as problem:
            found = problem
        if before is not None:
            await before
        self._waiting -= seconds
        self._room.set()
        piece = heard.piece
        if isinstance(found, Problem):
            self._counts.failed += 1
            self._metrics.measured("failed")
            await self._send({"type": "error", **found.body(), **self._where(number, piece)})
            return
        self._counts.final += 1
        speech = piece.speech / (piece.end - piece.start)
        self._channels[number].segments.append(
            Segment(
                piece.start / SAMPLE_RATE,
                piece.end / SAMPLE_RATE,
                found.prediction.scores,
                speech,
                None,
                found.prediction.decisions,
                self._channels[number].name,
            )
        )
        await self._report(number, "final", heard, found, {"speech": round(speech, 4)})

    async def _report(
        self, number: int, kind: str, heard: Heard, found: Found, more: dict[str, Any]
    ) -> None:
        where = self._where(number, heard.piece)
        await self._send(
            {"type": "measurement", "kind": kind, **where, **more, "result": found.to_dict()}
        )
        self._metrics.measured(kind, self._arrivals.age(heard.decided / SAMPLE_RATE))

    async def finish(self) -> dict[str, Any]:
        """Sends the last measurements; returns the totals."""
        for number, channel in enumerate(self._channels):
            await self._follow(number, channel.speaker.finish())
            if channel.interim is not None:
                channel.interim.cancel()
            if channel.early is not None:
                channel.early[1].cancel()
        if self._delivered is not None:
            await self._delivered
        seconds = [round(each.speaker.speech / SAMPLE_RATE, 4) for each in self._channels]
        return {
            "duration": round(self._frames / self._format.rate, 4),
            "speech": seconds,
            **self._sum_up(seconds),
            **asdict(self._counts),
        }

    def _sum_up(self, seconds: list[float]) -> dict[str, Any]:
        """What the segments say about each channel, and between them."""
        segments = [segment for channel in self._channels for segment in channel.segments]
        segments.sort(key=lambda segment: segment.start)
        if not self._format.is_conversation:
            summary = self._asker.timeline(segments, self._format, {}, None).summary
            return {"summaries": [summary and summary.to_dict()]}
        speaking = count_speaking([each.speaker.marks for each in self._channels])
        overlap = float((speaking > 1).sum()) * CHUNK / SAMPLE_RATE
        names = [str(each.name) for each in self._channels]
        timeline = self._asker.timeline(
            segments, self._format, dict(zip(names, seconds, strict=True)), overlap
        )
        assert timeline.conversation is not None
        return {
            "summaries": [each.summary and each.summary.to_dict() for each in timeline.speakers],
            "conversation": timeline.conversation.to_dict(),
        }

    def _who(self, number: int) -> dict[str, Any]:
        name = self._channels[number].name
        return {"channel": number, **({} if name is None else {"speaker": name})}

    def _where(self, number: int, piece: Piece) -> dict[str, Any]:
        return {**self._who(number), "start": _ms(piece.start), "end": _ms(piece.end)}


def _ms(sample: int) -> float:
    """Milliseconds from the start; exact, as a chunk has 32 ms."""
    milliseconds = sample * 1000 / SAMPLE_RATE
    return int(milliseconds) if milliseconds.is_integer() else milliseconds
