"""Sends the clients' calls: retries, the cached model card, and readiness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Callable, TypeVar

from emotion2vec_client import _protocol
from emotion2vec_client._audio import Waveform
from emotion2vec_client._base import BaseClient
from emotion2vec_client._grpc import AsyncGrpcTransport, GrpcTransport
from emotion2vec_client._http import AsyncHttpTransport, HttpTransport
from emotion2vec_client._protocol import POLL_TIMEOUT, Call
from emotion2vec_client._result import ModelInfo, Prediction
from emotion2vec_client._retry import Outage
from emotion2vec_client.errors import (
    Emotion2VecError,
    OverloadedError,
    PredictionTimeoutError,
    ServerUnavailableError,
    WrongAddressError,
)

Value = TypeVar("Value")


class Session(BaseClient):
    """Blocking calls."""

    _transport: GrpcTransport | HttpTransport

    def _connect(self) -> None:
        self._transport = (
            GrpcTransport(self._endpoint)
            if self._endpoint.is_grpc
            else HttpTransport(self._endpoint)
        )

    def _obstacle(self, left: float) -> object:
        """Why the models cannot predict yet, or None if they can."""
        # A server that accepts connections but never responds must not block the next attempt.
        patience = min(max(left, 0.01), POLL_TIMEOUT)
        try:
            for model in _protocol.MODELS.values():
                if not self._transport.is_ready(model, patience):
                    return f"model {model} is not ready"
            # Triton's metrics port and other web servers report any model as ready.
            self._card(patience)
        except WrongAddressError:
            # Waiting does not change the address.
            raise
        except Emotion2VecError as error:
            return error
        return None

    def _predict(self, audio: bytes | Waveform, call: Call, outage: Outage) -> Prediction:
        call = call.of(audio)

        def attempt() -> Prediction:
            started = time.monotonic()
            info = self._card(call.timeout)
            try:
                # Reading the model card may have taken part of the time.
                with self._announced(call.after(time.monotonic() - started)) as announced:
                    tensors = self._transport.infer(announced)
            except PredictionTimeoutError as error:
                # Report the timeout that the user chose, not the rest of it.
                raise _protocol.timed_out(self.url, call.timeout) from error
            return _protocol.read_prediction(
                {**tensors, **call.known}, info, self.judges, call.embedding
            )

        return self._retried(attempt, outage)

    def _retried(self, attempt: Callable[[], Value], outage: Outage) -> Value:
        attempts = 0
        while True:
            self._check_open()
            try:
                value = attempt()
            except ServerUnavailableError as error:
                # After a restart the server may run another model.
                self._info = None
                if isinstance(error, OverloadedError) and not self.retries_overload:
                    raise
                time.sleep(outage.delay(attempts, error))
                attempts += 1
            except Emotion2VecError:
                outage.over()
                raise
            else:
                outage.over()
                return value

    def _card(self, timeout: float) -> ModelInfo:
        info = self._info
        if info is None:
            info = _protocol.read_card(self._transport.card(timeout), self.url)
            self.judges.check(info)
            self._info = info
        return info


class AsyncSession(BaseClient):
    """The same calls with asyncio."""

    _open: AsyncGrpcTransport | AsyncHttpTransport | None = None

    @property
    def _transport(self) -> AsyncGrpcTransport | AsyncHttpTransport:
        # Both transports bind themselves to the running event loop, so create them late.
        if self._open is None:
            self._open = (
                AsyncGrpcTransport(self._endpoint)
                if self._endpoint.is_grpc
                else AsyncHttpTransport(self._endpoint)
            )
        return self._open

    async def _obstacle(self, left: float) -> object:
        patience = min(max(left, 0.01), POLL_TIMEOUT)
        try:
            for model in _protocol.MODELS.values():
                if not await self._transport.is_ready(model, patience):
                    return f"model {model} is not ready"
            # Triton's metrics port and other web servers report any model as ready.
            await self._card(patience)
        except WrongAddressError:
            # Waiting does not change the address.
            raise
        except Emotion2VecError as error:
            return error
        return None

    async def _predict(self, audio: bytes | Waveform, call: Call, outage: Outage) -> Prediction:
        call = call.of(audio)

        async def attempt() -> Prediction:
            started = time.monotonic()
            info = await self._card(call.timeout)
            try:
                with self._announced(call.after(time.monotonic() - started)) as announced:
                    tensors = await self._transport.infer(announced)
            except PredictionTimeoutError as error:
                # Report the timeout that the user chose, not the rest of it.
                raise _protocol.timed_out(self.url, call.timeout) from error
            return _protocol.read_prediction(
                {**tensors, **call.known}, info, self.judges, call.embedding
            )

        return await self._retried(attempt, outage)

    async def _retried(self, attempt: Callable[[], Awaitable[Value]], outage: Outage) -> Value:
        attempts = 0
        while True:
            self._check_open()
            try:
                value = await attempt()
            except ServerUnavailableError as error:
                self._info = None
                if isinstance(error, OverloadedError) and not self.retries_overload:
                    raise
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
            info = _protocol.read_card(await self._transport.card(timeout), self.url)
            self.judges.check(info)
            self._info = info
        return info
