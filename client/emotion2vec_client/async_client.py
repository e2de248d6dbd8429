"""The asynchronous client: the same methods, to be awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping
from types import TracebackType
from typing import Callable, TypeVar

from emotion2vec_client import many, protocol, waiting
from emotion2vec_client.audio import Audio, Waveform, file_bytes
from emotion2vec_client.base import (
    OUTAGE_SECONDS,
    POLL_SECONDS,
    POLL_TIMEOUT,
    TIMELINE_SECONDS,
    BaseClient,
    Request,
    check_items,
    question,
)
from emotion2vec_client.endpoint import TLS
from emotion2vec_client.errors import (
    Emotion2VecError,
    PredictionTimeoutError,
    ServerUnavailableError,
    WrongAddressError,
)
from emotion2vec_client.grpc_transport import AsyncGrpcTransport
from emotion2vec_client.http_transport import AsyncHttpTransport
from emotion2vec_client.protocol import Call
from emotion2vec_client.result import Granularity, ModelInfo, Outcome, Prediction
from emotion2vec_client.retry import Outage
from emotion2vec_client.timeline import Segmentation, Timeline
from emotion2vec_client.waiting import Progress

Value = TypeVar("Value")


class AsyncClient(BaseClient):
    """As `Client`, with asyncio; for one event loop.

    Args:
        url: As for `Client`, and so are the rest.
        timeout: Seconds to wait for an answer.
        retry_seconds: For how long a call is tried again while no server answers.
        api_key: Sent as ``Authorization: Bearer …``.
        headers: Sent with every call.
        tls: Certificates, for ``grpcs://`` and ``https://``.

    Example:
        >>> async def recognise() -> None:
        ...     async with AsyncClient("localhost:8001") as client:
        ...         prediction = await client.predict("happy.wav")
        ...         async for outcome in client.predict_many(["happy.wav", "sad.mp3"]):
        ...             print(outcome.item, "failed" if outcome.error else "answered")
        >>> asyncio.run(recognise())
        happy.wav answered
        sad.mp3 answered
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        timeout: float = 30.0,
        retry_seconds: float = 2.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
    ) -> None:
        super().__init__(
            url,
            timeout=timeout,
            retry_seconds=retry_seconds,
            api_key=api_key,
            headers=headers,
            tls=tls,
        )
        self._open: AsyncGrpcTransport | AsyncHttpTransport | None = None

    @property
    def _transport(self) -> AsyncGrpcTransport | AsyncHttpTransport:
        # Made at the first call, since both kinds bind themselves to the running event loop.
        if self._open is None:
            self._open = (
                AsyncGrpcTransport(self._endpoint)
                if self._endpoint.is_grpc
                else AsyncHttpTransport(self._endpoint)
            )
        return self._open

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; what is asked afterwards raises RuntimeError."""
        self._closed = True
        if self._open is not None:
            await self._open.close()

    async def predict(
        self,
        audio: Audio,
        *,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
    ) -> Prediction:
        """Recognises the emotion of one clip; arguments and errors as for `Client.predict`."""
        request = self._request(granularity, embedding, timeout)
        data = await _read(audio)
        return await self._predict(data, request, Outage(self.retry_seconds))

    async def decode(self, audio: Audio, *, timeout: float | None = None) -> Waveform:
        """The clip as the model hears it; arguments and errors as for `Client.decode`."""
        seconds = self._seconds(timeout)
        inputs = protocol.file_inputs(await _read_file(audio))

        async def attempt() -> Waveform:
            call = Call(protocol.PREPROCESS, inputs, protocol.WAVEFORM_NAMES, seconds)
            return protocol.read_waveform(await self._transport.infer(call))

        return await self._retried(attempt, Outage(self.retry_seconds))

    async def timeline(
        self,
        audio: Audio,
        *,
        segmentation: Segmentation = "vad",
        min_segment: float | None = None,
        max_segment: float | None = None,
        window: float | None = None,
        hop: float | None = None,
        embedding: bool = False,
        progress: Progress = None,
        timeout: float = TIMELINE_SECONDS,
    ) -> Timeline:
        """Recognises the course of emotion; arguments and errors as for `Client.timeline`.

        Cancelling the task cancels the work on the server.
        """
        seconds = {
            "min_segment": min_segment,
            "max_segment": max_segment,
            "window": window,
            "hop": hop,
        }
        data = await _read_file(audio)
        request = self._timeline_request(data, segmentation, seconds, embedding, timeout)

        async def attempt() -> Timeline:
            info = await self._card(timeout)
            tensors = await waiting.run_async(self._transport, request, progress)
            return protocol.read_timeline(tensors, segmentation, info)

        return await self._retried(attempt, Outage(self.retry_seconds))

    def predict_many(
        self,
        items: Iterable[Audio] | AsyncIterable[Audio],
        *,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        concurrency: int = 16,
        ordered: bool = True,
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome[Audio]]:
        """Recognises many clips; arguments as for `Client.predict_many`.

        The items may come from an asynchronous iterable as well.
        """
        check_items(items)
        request = self._request_of_many(granularity, embedding, concurrency, timeout)
        outage = Outage(OUTAGE_SECONDS)

        async def attempt(item: Audio) -> Outcome[Audio]:
            try:
                data = await _read(item)
                return Outcome(item, await self._predict(data, request, outage), None)
            except (Emotion2VecError, OSError, TypeError, ValueError) as error:
                return Outcome(item, None, error)

        return many.stream_async(items, attempt, concurrency, ordered)

    async def model_info(self) -> ModelInfo:
        """The model that the server runs; remembered for half a minute."""
        return await self._retried(lambda: self._card(self.timeout), Outage(self.retry_seconds))

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Waits until the model is ready to predict; errors as for `Client.wait_until_ready`."""
        self._check_open()
        deadline = time.monotonic() + protocol.check_timeout(timeout)
        while (obstacle := await self._obstacle(deadline - time.monotonic())) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._not_ready(timeout, obstacle)
            await asyncio.sleep(min(POLL_SECONDS, left))

    async def _obstacle(self, left: float) -> object:
        patience = min(max(left, 0.01), POLL_TIMEOUT)
        try:
            for model in protocol.MODELS.values():
                if not await self._transport.is_ready(model, patience):
                    return f"model {model} is not ready"
            # Triton's metrics and other web servers say yes to any question but this.
            await self._card(patience)
        except WrongAddressError:
            # Waiting does not change the address.
            raise
        except Emotion2VecError as error:
            return error
        return None

    async def _predict(
        self, audio: bytes | Waveform, request: Request, outage: Outage
    ) -> Prediction:
        asked = question(audio, request)

        async def attempt() -> Prediction:
            started = time.monotonic()
            info = await self._card(request.timeout)
            left = max(request.timeout - (time.monotonic() - started), 0.001)
            try:
                call = Call(asked.model, asked.inputs, asked.names, left)
                tensors = await self._transport.infer(call)
            except PredictionTimeoutError as error:
                # What was left of the time is not what the user asked for.
                raise protocol.timed_out(self.url, request.timeout) from error
            return protocol.read_prediction({**tensors, **asked.known}, request.granularity, info)

        return await self._retried(attempt, outage)

    async def _retried(self, attempt: Callable[[], Awaitable[Value]], outage: Outage) -> Value:
        attempts = 0
        while True:
            self._check_open()
            try:
                value = await attempt()
            except ServerUnavailableError as error:
                self._info = None
                await asyncio.sleep(outage.delay(attempts, error))
                attempts += 1
            except Emotion2VecError:
                outage.over()
                raise
            else:
                outage.over()
                return value

    async def _card(self, timeout: float) -> ModelInfo:
        info = self._info
        if info is None:
            text = await self._transport.card(timeout)
            info = self._info = protocol.read_card(text, self.url)
        return info


async def _read(audio: Audio) -> bytes | Waveform:
    return audio if isinstance(audio, Waveform) else await _read_file(audio)


async def _read_file(audio: Audio) -> bytes:
    # Disks block: not in the event loop.
    return await asyncio.get_running_loop().run_in_executor(None, file_bytes, audio)
