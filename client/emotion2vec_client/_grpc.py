"""KServe v2 over gRPC, through NVIDIA's client library."""

from __future__ import annotations

from typing import Any

import tritonclient.grpc as blocking
import tritonclient.grpc.aio as asynchronous
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from emotion2vec_client import _probe
from emotion2vec_client._balancing import OPTIONS, is_balanced, target
from emotion2vec_client._endpoint import Endpoint
from emotion2vec_client._protocol import ENCODER, Call, Tensors, error_of
from emotion2vec_client.errors import Emotion2VecError, ServerUnavailableError

CHANNEL_ARGS = [
    # gRPC's default limit is 4 MB, but 30 s of frame embeddings are 6 MB, and files up to 10 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default gRPC waits up to two minutes before it reconnects: a server that has just started
    # would go unnoticed for that long.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    tls = endpoint.tls
    balanced = is_balanced(endpoint)
    return {
        "url": target(endpoint) if balanced else endpoint.authority,
        "ssl": endpoint.is_secure,
        "root_certificates": tls.ca,
        "private_key": tls.key,
        "certificate_chain": tls.cert,
        "channel_args": [*CHANNEL_ARGS, *(OPTIONS if balanced else [])],
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


def _card(response: Any) -> str:
    return str(response.config.parameters["model_card"].string_value)


class _Shared:
    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.headers = dict(endpoint.headers)

    def _translated(self, error: InferenceServerException, timeout: float) -> Emotion2VecError:
        return error_of(_status(error), str(error.message()), self.endpoint.url, timeout)

    def _may_be_http(self, error: InferenceServerException, own: Emotion2VecError) -> bool:
        """Whether the server may speak HTTP instead of gRPC."""
        no_answer = type(own) is ServerUnavailableError and _status(error) == "UNAVAILABLE"
        return no_answer and not self.endpoint.is_secure and not self.endpoint.others


def _status(error: InferenceServerException) -> str:
    return str(error.status()).rpartition(".")[2]


class GrpcTransport(_Shared):
    """Blocking calls; safe to share between threads."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = blocking.InferenceServerClient(**_settings(endpoint))

    def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the requested outputs."""
        try:
            response = self._server.infer(
                **_request(call), headers={**self.headers, **call.headers}
            )
        except InferenceServerException as error:
            raise self._error(error, call.timeout) from error
        return {name: response.as_numpy(name) for name in call.names}

    def card(self, timeout: float) -> str:
        """The model card as JSON text."""
        try:
            response = self._server.get_model_config(
                ENCODER, client_timeout=timeout, headers=self.headers
            )
        except InferenceServerException as error:
            raise self._error(error, timeout) from error
        return _card(response)

    def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model is ready."""
        try:
            return bool(
                self._server.is_model_ready(model, client_timeout=timeout, headers=self.headers)
            )
        except InferenceServerException as error:
            raise self._error(error, timeout) from error

    def close(self) -> None:
        """Closes the connection."""
        self._server.close()

    def _error(self, error: InferenceServerException, timeout: float) -> Emotion2VecError:
        own = self._translated(error, timeout)
        other = _probe.ask(self.endpoint) if self._may_be_http(error, own) else None
        return other or own


class AsyncGrpcTransport(_Shared):
    """`GrpcTransport` with asyncio."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = asynchronous.InferenceServerClient(**_settings(endpoint))

    async def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the requested outputs."""
        try:
            response = await self._server.infer(
                **_request(call), headers={**self.headers, **call.headers}
            )
        except InferenceServerException as error:
            raise await self._error(error, call.timeout) from error
        return {name: response.as_numpy(name) for name in call.names}

    async def card(self, timeout: float) -> str:
        """The model card as JSON text."""
        try:
            response = await self._server.get_model_config(
                ENCODER, client_timeout=timeout, headers=self.headers
            )
        except InferenceServerException as error:
            raise await self._error(error, timeout) from error
        return _card(response)

    async def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model is ready."""
        try:
            return bool(
                await self._server.is_model_ready(
                    model, client_timeout=timeout, headers=self.headers
                )
            )
        except InferenceServerException as error:
            raise await self._error(error, timeout) from error

    async def close(self) -> None:
        """Closes the connection."""
        await self._server.close()

    async def _error(self, error: InferenceServerException, timeout: float) -> Emotion2VecError:
        own = self._translated(error, timeout)
        other = await _probe.ask_async(self.endpoint) if self._may_be_http(error, own) else None
        return other or own
