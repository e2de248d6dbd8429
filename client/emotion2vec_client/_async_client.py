"""The asynchronous client: the same methods as coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

from emotion2vec_client import _many, _protocol, _waiting
from emotion2vec_client._audio import Audio, Waveform, file_bytes
from emotion2vec_client._base import OUTAGE_SECONDS, POLL_SECONDS, TIMELINE_SECONDS
from emotion2vec_client._result import Granularity, ModelInfo, Outcome, Prediction
from emotion2vec_client._retry import Outage
from emotion2vec_client._session import AsyncSession
from emotion2vec_client._speakers import Channels, Speakers
from emotion2vec_client._stream import AsyncStream, Encoding
from emotion2vec_client._timeline import Segmentation, Timeline
from emotion2vec_client._timeline_call import read_timeline, timeline_call
from emotion2vec_client._waiting import Progress
from emotion2vec_client.errors import Emotion2VecError


class AsyncClient(AsyncSession):
    """`Client` with asyncio, for one event loop; its arguments and errors are the same.

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

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; later calls raise RuntimeError."""
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
        call = self._prediction_call(granularity, embedding, timeout)
        return await self._predict(await _read(audio), call, Outage(self.retry_seconds))

    async def decode(self, audio: Audio, *, timeout: float | None = None) -> Waveform:
        """Returns the clip as the model hears it; arguments and errors as for `Client.decode`."""
        call = self._waveform_call(timeout).of(await _read_file(audio))

        async def attempt() -> Waveform:
            with self._announced(call) as announced:
                tensors = await self._transport.infer(announced)
            return _protocol.read_waveform(tensors)

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
        channels: Channels = "mixed",
        speakers: Speakers = 1,
        names: Sequence[str] = (),
        embedding: bool = False,
        progress: Progress = None,
        timeout: float = TIMELINE_SECONDS,
    ) -> Timeline:
        """Recognises emotion over time; arguments and errors as for `Client.timeline`.

        Cancelling the task cancels the work on the server.
        """
        data = await _read_file(audio)
        call = timeline_call(
            timeout,
            segmentation,
            channels,
            speakers,
            names,
            embedding,
            self.judges,
            min_segment=min_segment,
            max_segment=max_segment,
            window=window,
            hop=hop,
        ).of(data)

        async def attempt() -> Timeline:
            info = await self._card(timeout)
            with self._announced(call) as announced:
                tensors = await _waiting.run_async(self._transport, announced, progress)
            return read_timeline(tensors, call, info, self.judges)

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
        """Recognises many clips; arguments and errors as for `Client.predict_many`.

        The items may also come from an asynchronous iterable.
        """
        call = self._many_call(items, granularity, embedding, concurrency, timeout)
        outage = Outage(OUTAGE_SECONDS)

        async def attempt(item: Audio) -> Outcome[Audio]:
            try:
                data = await _read(item)
                return Outcome(item, await self._predict(data, call, outage), None)
            except (Emotion2VecError, OSError, TypeError, ValueError) as error:
                return Outcome(item, None, error)

        return _many.stream_async(items, attempt, concurrency, ordered)

    def stream(
        self,
        *,
        rate: int | None = None,
        encoding: Encoding = "s16le",
        channels: int = 1,
        mixed: bool = False,
        names: Sequence[str] = (),
        interval: float = 1.5,
        granularity: Granularity = "utterance",
        gateway: str | None = None,
    ) -> AsyncStream:
        """Streams audio while someone speaks; arguments and errors as for `Client.stream`.

        Example:
            >>> async def listen(frames: AsyncIterable[bytes]) -> None:
            ...     async with AsyncClient("localhost:8001") as client, client.stream() as stream:
            ...
            ...         async def send() -> None:
            ...             async for frame in frames:
            ...                 await stream.send(frame)
            ...             await stream.finish()
            ...
            ...         sending = asyncio.create_task(send())
            ...         async for measurement in stream:
            ...             print(measurement.kind, measurement.unwrap().emotion)
            ...         await sending
        """
        return AsyncStream(
            *self._stream_parts(
                rate, encoding, channels, mixed, names, interval, granularity, gateway
            )
        )

    async def model_info(self) -> ModelInfo:
        """Describes the model that the server runs; cached for half a minute."""
        return await self._retried(lambda: self._card(self.timeout), Outage(self.retry_seconds))

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Waits until the model is ready to predict; errors as for `Client.wait_until_ready`."""
        self._check_open()
        deadline = time.monotonic() + _protocol.check_timeout(timeout)
        while (obstacle := await self._obstacle(deadline - time.monotonic())) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._not_ready(timeout, obstacle)
            await asyncio.sleep(min(POLL_SECONDS, left))


async def _read(audio: Audio) -> bytes | Waveform:
    return audio if isinstance(audio, Waveform) else await _read_file(audio)


async def _read_file(audio: Audio) -> bytes:
    # Reading a file blocks, so keep it out of the event loop.
    return await asyncio.get_running_loop().run_in_executor(None, file_bytes, audio)
