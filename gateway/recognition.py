"""A recognition: Triton decodes and recognises the clip, the gateway saves the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from emotion2vec_client import AsyncClient, Emotion2VecError, Granularity, ModelInfo, OnCall
from gateway.admission import Admission
from gateway.outputs import AUDIO, Store, npy, short_name
from gateway.problems import nothing_kept, problem_of, too_large
from gateway.schema import Result
from gateway.settings import Settings

READY_SECONDS = 2.0

FAILOVER_SECONDS = 5.0
"""How long a request looks for a Triton that answers, if there are several."""


def connect(settings: Settings, timeout: float, on_call: OnCall = None) -> AsyncClient:
    """A client of Triton.

    Args:
        settings: Triton's address.
        timeout: Seconds to wait for a response.
        on_call: As for `AsyncClient`.
    """
    key = settings.triton_api_key
    client = AsyncClient(
        settings.triton_url,
        timeout=timeout,
        retry_seconds=0,
        api_key=key.get_secret_value() if key else None,
        policy=settings.loaded_policy,
        heads=settings.loaded_heads,
        on_call=on_call,
    )
    if client.is_balanced:
        # Another one may answer. Otherwise, and if the queues are full, the caller decides.
        client.retry_seconds, client.retries_overload = min(FAILOVER_SECONDS, timeout), False
    return client


class Recogniser:
    """Recognises clips for the page and the REST endpoint.

    Args:
        client: Connected to Triton.
        store: Saves results.
        settings: Limits.
    """

    def __init__(self, client: AsyncClient, store: Store, settings: Settings) -> None:
        self.client = client
        self.store = store
        self._settings = settings
        self._admission = Admission(settings.max_in_flight, settings.max_wait)

    async def recognise(
        self,
        data: bytes,
        filename: str,
        granularity: Granularity,
        embedding: bool,
        on_stage: Callable[[str], None] = lambda stage: None,
        *,
        inline: bool = False,
    ) -> Result:
        """Recognises one file and saves the result, if results are kept.

        Args:
            data: The whole file.
            filename: The name of the upload.
            granularity: ``utterance`` or ``frame``.
            embedding: Whether embedding.npy is wanted.
            inline: Whether the answer has ``embedding``, float32 [1024] or [T, 1024].
            on_stage: Called with ``decode``, ``recognise`` and ``save`` as each begins.

        Returns:
            The answer of the REST endpoint; without ``embedding`` it is also result.json.

        Raises:
            Problem: The file cannot be recognised, or the result cannot be saved.
        """
        settings = self._settings
        if len(data) > settings.max_upload_bytes:
            raise too_large(settings.max_upload_bytes)
        if embedding and not self.store.keeps:
            raise nothing_kept()
        with self._admission.admit() as answered:
            try:
                clock = _Clock(settings.timeout, on_stage)
                clock.begin("decode")
                heard = await self.client.decode(data, timeout=clock.left())
                # The file is decoded only once, so that processed_audio.wav is exactly what the
                # model heard.
                clock.begin("recognise")
                prediction = await self.client.predict(
                    heard,
                    granularity=granularity,
                    embedding=embedding or inline,
                    timeout=clock.left(),
                )
                answered()
                info = await self.client.model_info()
                clock.begin("save")
                result: Result = {
                    **cast("Result", prediction.to_dict()),
                    "model": info.checkpoint,
                    "precision": info.precision,
                    "filename": short_name(filename),
                    "sample_rate": heard.source_rate,
                    "milliseconds": clock.milliseconds,
                }
                numbers = prediction.file_embedding
                files = {AUDIO: heard.wav_bytes(), **npy(numbers if embedding else None)}
                answer = await asyncio.to_thread(
                    self.store.save, result, files, prediction.timestamp
                )
                return {**answer, "embedding": numbers} if inline else answer
            except (Emotion2VecError, OSError) as error:
                raise problem_of(error) from error

    async def model_info(self) -> ModelInfo:
        """The model that Triton serves now; ``client`` may remember an older one.

        Raises:
            Problem: Triton does not answer.
        """
        try:
            async with connect(self._settings, READY_SECONDS) as asking:
                return await asking.model_info()
        except Emotion2VecError as error:
            raise problem_of(error) from error

    async def is_ready(self) -> bool:
        """Whether the models can answer now; asks over a connection of its own."""
        try:
            async with connect(self._settings, READY_SECONDS) as asking:
                await asking.wait_until_ready(READY_SECONDS)
        except Emotion2VecError:
            return False
        return True

    async def check_ready(self) -> None:
        """Raises Problem unless the models can answer."""
        try:
            await self.client.wait_until_ready(READY_SECONDS)
            # Refuses a model that the heads do not fit.
            await self.client.model_info()
        except Emotion2VecError as error:
            raise problem_of(error) from error


class _Clock:
    """Times the stages, and knows how much time is left for all of them."""

    def __init__(self, timeout: float, on_stage: Callable[[str], None]) -> None:
        self._deadline = time.monotonic() + timeout
        self._on_stage = on_stage
        self._stage: str | None = None
        self._began = 0.0
        self.milliseconds: dict[str, float] = {}

    def begin(self, stage: str) -> None:
        now = time.monotonic()
        if self._stage is not None:
            self.milliseconds[self._stage] = round((now - self._began) * 1000, 1)
        self._stage, self._began = stage, now
        self._on_stage(stage)

    def left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)
