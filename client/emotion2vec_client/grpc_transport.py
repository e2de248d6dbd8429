"""KServe v2 over gRPC, through NVIDIA's client library."""

from __future__ import annotations

from typing import Any

import tritonclient.grpc as blocking
import tritonclient.grpc.aio as asynchronous
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from emotion2vec_client import probe
from emotion2vec_client.endpoint import Endpoint
from emotion2vec_client.errors import Emotion2VecError, ServerUnavailableError
from emotion2vec_client.protocol import ENCODER, Call, Tensors, error_of

CHANNEL_ARGS = [
    # gRPC's own limit is 4 MB; the frame embeddings of 30 s are 6 MB, and a file is up to 10 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default gRPC waits ever longer, up to two minutes, before it tries a server again that was
    # not there: a server that has just started would go unnoticed for as long.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    tls = endpoint.tls
    return {
        "url": endpoint.authority,
        "ssl": endpoint.is_secure,
        "root_certificates": tls.ca,
        "private_key": tls.key,
        "certificate_chain": tls.cert,
        "channel_args": CHANNEL_ARGS,
    }


def _request(call: Call) -> dict[str, Any]:
    tensors = []
    for name, array in call.inputs.items():
        tensor = blocking.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return {
        "model_name": call.model,
        "inputs": tensors,
        "outputs": [blocking.InferRequestedOutput(name) for name in call.names],
        "request_id": call.id,
        "parameters": dict(call.parameters),
        "client_timeout": call.timeout,
    }


def _card(answer: Any) -> str:
    return str(answer.config.parameters["model_card"].string_value)


class _Shared:
    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.headers = dict(endpoint.headers)

    def _told(self, error: InferenceServerException, timeout: float) -> Emotion2VecError:
        return error_of(_status(error), str(error.message()), self.endpoint.url, timeout)

    def _is_doubtful(self, error: InferenceServerException, told: Emotion2VecError) -> bool:
        """Whether the server may be one that does not speak gRPC."""
        no_answer = type(told) is ServerUnavailableError and _status(error) == "UNAVAILABLE"
        return no_answer and not self.endpoint.is_secure


def _status(error: InferenceServerException) -> str:
    return str(error.status()).rpartition(".")[2]


class GrpcTransport(_Shared):
    """Blocking calls; safe to share between threads."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = blocking.InferenceServerClient(**_settings(endpoint))

    def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the named outputs."""
        try:
            answer = self._server.infer(**_request(call), headers=self.headers)
        except InferenceServerException as error:
            raise self._error(error, call.timeout) from error
        return {name: answer.as_numpy(name) for name in call.names}

    def card(self, timeout: float) -> str:
        """The model card's text."""
        try:
            answer = self._server.get_model_config(
                ENCODER, client_timeout=timeout, headers=self.headers
            )
        except InferenceServerException as error:
            raise self._error(error, timeout) from error
        return _card(answer)

    def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model can answer."""
        try:
            return bool(
                self._server.is_model_ready(model, client_timeout=timeout, headers=self.headers)
            )
        except InferenceServerException as error:
            raise self._error(error, timeout) from error

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    def _error(self, error: InferenceServerException, timeout: float) -> Emotion2VecError:
        told = self._told(error, timeout)
        other = probe.ask(self.endpoint) if self._is_doubtful(error, told) else None
        return other or told


class AsyncGrpcTransport(_Shared):
    """The same with asyncio."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = asynchronous.InferenceServerClient(**_settings(endpoint))

    async def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the named outputs."""
        try:
            answer = await self._server.infer(**_request(call), headers=self.headers)
        except InferenceServerException as error:
            raise await self._error(error, call.timeout) from error
        return {name: answer.as_numpy(name) for name in call.names}

    async def card(self, timeout: float) -> str:
        """The model card's text."""
        try:
            answer = await self._server.get_model_config(
                ENCODER, client_timeout=timeout, headers=self.headers
            )
        except InferenceServerException as error:
            raise await self._error(error, timeout) from error
        return _card(answer)

    async def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model can answer."""
        try:
            return bool(
                await self._server.is_model_ready(
                    model, client_timeout=timeout, headers=self.headers
                )
            )
        except InferenceServerException as error:
            raise await self._error(error, timeout) from error

    async def close(self) -> None:
        """Ends the connection."""
        await self._server.close()

    async def _error(self, error: InferenceServerException, timeout: float) -> Emotion2VecError:
        told = self._told(error, timeout)
        other = await probe.ask_async(self.endpoint) if self._is_doubtful(error, told) else None
        return other or told
