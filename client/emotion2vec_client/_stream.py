"""Emotion while someone speaks, over the gateway's WebSocket (docs/stream.md)."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np

from emotion2vec_client._endpoint import Endpoint
from emotion2vec_client._stream_events import (
    Measurement,
    StreamEvent,
    StreamTotals,
    read_message,
)
from emotion2vec_client.errors import (
    AccessDeniedError,
    Emotion2VecError,
    OverloadedError,
    ServerUnavailableError,
    WrongAddressError,
)

if TYPE_CHECKING:
    import numpy.typing as npt

Encoding = Literal["s16le", "mulaw", "alaw"]
GATEWAY_PORT = 7860
PATH = "/api/stream/"

LARGEST_MESSAGE = 2**24
"""Bytes: a final measurement in frame granularity has up to 500 rows of nine numbers."""

MOST_SENT = 2**19
"""Bytes in a message; the gateway takes up to 1 MiB."""

OPEN_SECONDS = 10.0


Audio = Union[bytes, bytearray, memoryview, "npt.NDArray[Any]"]


class _Protocol:
    """What both forms share: the address, the messages and the errors."""

    def __init__(self, gateway: Endpoint, form: Mapping[str, Any]) -> None:
        self._gateway = gateway
        self._form = dict(form)
        self.totals: StreamTotals | None = None

    @property
    def _options(self) -> dict[str, Any]:
        secure = self._gateway.is_secure
        context = None
        if secure:
            tls = self._gateway.tls
            context = ssl.create_default_context(cafile=tls.ca)
            if tls.cert is not None:
                context.load_cert_chain(tls.cert, tls.key)
        return {
            "uri": f"ws{'s' if secure else ''}://{self._gateway.authority}{PATH}",
            "additional_headers": dict(self._gateway.headers),
            "ssl": context,
            "max_size": LARGEST_MESSAGE,
            "open_timeout": OPEN_SECONDS,
            "compression": None,
            # A gateway that makes us wait answers pings only behind our audio.
            "ping_timeout": None,
        }

    @property
    def _update(self) -> str:
        return json.dumps({"type": "session.update", "session": self._form})

    def _messages(self, audio: Audio) -> Iterator[bytes]:
        data = self._encode(audio)
        return (data[at : at + MOST_SENT] for at in range(0, len(data), MOST_SENT))

    def _encode(self, audio: Audio) -> bytes:
        if isinstance(audio, (bytes, bytearray, memoryview)):
            return bytes(audio)
        if self._form["encoding"] != "s16le":
            raise TypeError(f"the stream is in {self._form['encoding']}: send bytes")
        samples = np.asarray(audio)
        if samples.dtype.kind == "f":
            samples = np.clip(np.rint(samples * 2.0**15), -(2**15), 2**15 - 1)
        elif samples.dtype != np.int16:
            raise TypeError(f"samples have the type {samples.dtype}: give int16 or floats")
        return samples.astype("<i2").tobytes()

    def _read(self, text: str | bytes) -> StreamEvent | None:
        """Reads a message; returns None for one that is no event, and keeps the totals."""
        found = read_message(json.loads(text))
        if isinstance(found, StreamTotals):
            self.totals = found
            return None
        return found

    def _refused(self, error: Exception) -> Exception:
        """The library's error for one of the connection."""
        from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

        where = self._gateway.url
        if isinstance(error, InvalidStatus):
            status, body = error.response.status_code, bytes(error.response.body or b"")
            try:
                detail = str(json.loads(body)["detail"])
            except (ValueError, KeyError, TypeError):
                detail = f"{where} answered with HTTP status {status}: give the gateway's address"
            kinds = {401: AccessDeniedError, 429: OverloadedError, 503: ServerUnavailableError}
            return kinds.get(status, WrongAddressError)(detail)
        if isinstance(error, InvalidMessage):
            return WrongAddressError(f"{where} does not speak HTTP: give the gateway's address")
        if isinstance(error, ConnectionClosed):
            return ServerUnavailableError(f"the stream to {where} broke off ({error})")
        return ServerUnavailableError(f"no gateway answers at {where} ({error})")


class AsyncStream(_Protocol):
    """A stream of audio to the gateway; see `AsyncClient.stream`.

    Attributes:
        totals: What the stream was; None until it is over.
    """

    async def __aenter__(self) -> AsyncStream:
        self._connecting = _websockets("asyncio").connect(**self._options)
        try:
            self._connection = await self._connecting.__aenter__()
        except Exception as error:
            raise _translated(self, error) from error
        try:
            await self._connection.send(self._update)
            await self._connection.recv()
            self._read(await self._connection.recv())
        except BaseException as error:
            await self._connecting.__aexit__(type(error), error, None)
            raise _translated(self, error) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connecting.__aexit__(kind, error, trace)

    async def send(self, audio: Audio) -> None:
        """Sends the next audio: bytes in the stream's encoding, int16 samples, or floats in -1..1.

        Raises:
            ServerUnavailableError: The connection is lost.
        """
        for message in self._messages(audio):
            await self._send(message)

    async def finish(self) -> None:
        """Says that no more audio follows; the iteration ends after the last measurements."""
        await self._send(json.dumps({"type": "session.close"}))

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Yields measurements, and where speech starts and ends, until the stream is over.

        Raises:
            Emotion2VecError: The gateway refused a message.
            ServerUnavailableError: The connection was lost.
        """
        while self.totals is None:
            try:
                event = self._read(await self._connection.recv())
            except Exception as error:
                raise _translated(self, error) from error
            if event is not None:
                yield event

    async def __aiter__(self) -> AsyncIterator[Measurement]:
        async for event in self.events():
            if isinstance(event, Measurement):
                yield event

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except Exception as error:
            raise _translated(self, error) from error


class Stream(_Protocol):
    """A stream of audio to the gateway, for threads: one may send while another iterates.

    Attributes:
        totals: What the stream was; None until it is over.
    """

    def __enter__(self) -> Stream:
        try:
            self._connecting = _websockets("sync").connect(**self._options)
            self._connection = self._connecting.__enter__()
        except Exception as error:
            raise _translated(self, error) from error
        try:
            self._connection.send(self._update)
            self._connection.recv()
            self._read(self._connection.recv())
        except BaseException as error:
            self._connecting.__exit__(type(error), error, None)
            raise _translated(self, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connecting.__exit__(kind, error, trace)

    def send(self, audio: Audio) -> None:
        """Sends the next audio; as `AsyncStream.send`."""
        for message in self._messages(audio):
            self._send(message)

    def finish(self) -> None:
        """Says that no more audio follows; the iteration ends after the last measurements."""
        self._send(json.dumps({"type": "session.close"}))

    def events(self) -> Iterator[StreamEvent]:
        """Yields measurements, and where speech starts and ends; as `AsyncStream.events`."""
        while self.totals is None:
            try:
                event = self._read(self._connection.recv())
            except Exception as error:
                raise _translated(self, error) from error
            if event is not None:
                yield event

    def __iter__(self) -> Iterator[Measurement]:
        return (event for event in self.events() if isinstance(event, Measurement))

    def _send(self, message: str | bytes) -> None:
        try:
            self._connection.send(message)
        except Exception as error:
            raise _translated(self, error) from error


def _websockets(form: str) -> Any:
    """The client of the package websockets, imported late because it is an extra."""
    try:
        if form == "sync":
            import websockets.sync.client as sync_client

            return sync_client
        import websockets.asyncio.client as asyncio_client

        return asyncio_client
    except ModuleNotFoundError as error:
        raise Emotion2VecError(
            "a stream needs the package websockets: pip install './client[stream]'"
        ) from error


def _translated(stream: _Protocol, error: BaseException) -> BaseException:
    """The library's error for one of the connection; other errors as they are."""
    from websockets.exceptions import WebSocketException

    if isinstance(error, (OSError, WebSocketException, TimeoutError)):
        return stream._refused(error)
    return error
