"""KServe v2 over HTTP with the binary tensor extension, through httpx."""

from __future__ import annotations

import json
import ssl
import struct
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from emotion2vec_client import _probe
from emotion2vec_client._endpoint import Endpoint
from emotion2vec_client._protocol import ENCODER, Call, Tensors, error_of
from emotion2vec_client.errors import Emotion2VecError

JSON_LENGTH = "Inference-Header-Content-Length"
DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32}

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status codes and the gRPC statuses that they stand for."""


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    # Plain HTTP needs no certificates, and loading the system's takes a while.
    verify: bool | ssl.SSLContext = False
    if endpoint.is_secure:
        try:
            verify = ssl.create_default_context(cafile=endpoint.tls.ca)
            if endpoint.tls.cert:
                verify.load_cert_chain(endpoint.tls.cert, endpoint.tls.key)
        except ssl.SSLError as error:
            raise ValueError(
                f"{endpoint.tls} cannot be used: give PEM files, and the key of the certificate "
                f"({error})"
            ) from error
    return {
        "base_url": endpoint.url,
        "headers": dict(endpoint.headers),
        "verify": verify,
        # The caller limits the requests in flight, so the connection pool need not.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100),
        # Proxies in the environment are for the internet, not for a server on the local network.
        "trust_env": False,
    }


def _request(call: Call) -> dict[str, Any]:
    described, blocks = [], []
    for name, array in call.inputs.items():
        block, datatype = _block(array)
        blocks.append(block)
        described.append(
            {
                "name": name,
                "shape": array.shape,
                "datatype": datatype,
                "parameters": {"binary_data_size": len(block)},
            }
        )
    header = json.dumps(
        {
            "id": call.id,
            "parameters": dict(call.parameters),
            "inputs": described,
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in call.names],
        }
    ).encode()
    return {
        "url": f"/v2/models/{call.model}/infer",
        "timeout": call.timeout,
        "content": b"".join([header, *blocks]),
        "headers": {
            **call.headers,
            JSON_LENGTH: str(len(header)),
            "Content-Type": "application/octet-stream",
        },
    }


def _block(array: npt.NDArray[Any]) -> tuple[bytes, str]:
    """The bytes of a tensor, and KServe's name for its type."""
    if array.dtype == np.object_:
        items = (struct.pack("<I", len(item)) + item for item in array.flat)
        return b"".join(items), "BYTES"
    datatype = next(name for name, kind in DTYPES.items() if array.dtype == np.dtype(kind))
    return array.tobytes(), datatype


def _tensors(response: httpx.Response, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Reads the outputs, whose bytes follow the JSON one after another."""
    offset = int(response.headers[JSON_LENGTH])
    found: dict[str, npt.NDArray[Any]] = {}
    for output in json.loads(response.content[:offset])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        block = response.content[offset : offset + size]
        array = np.frombuffer(block, DTYPES[output["datatype"]])
        found[output["name"]] = array.reshape(output["shape"])
        offset += size
    return {name: found[name] for name in names}


class _Shared:
    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.url = endpoint.url

    def _failure(self, error: httpx.HTTPError, timeout: float) -> Emotion2VecError:
        other = _probe.not_http_error(error, self.endpoint)
        if other is not None:
            return other
        late = isinstance(error, httpx.TimeoutException)
        status = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE"
        return error_of(status, str(error) or type(error).__name__, self.url, timeout)

    def _checked(self, response: httpx.Response, timeout: float) -> httpx.Response:
        if response.is_success:
            return response
        other = _probe.gateway_error(response, self.url)
        if response.status_code == 405:
            # For example Triton's metrics port, which only accepts GET.
            other = other or _probe.not_triton_error(self.url)
        if other is not None:
            raise other
        try:
            reason = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {response.status_code} {response.reason_phrase}"
        status = STATUSES.get(response.status_code, "INTERNAL")
        raise error_of(status, reason, self.url, timeout)

    def _ready(self, response: httpx.Response) -> bool:
        other = _probe.gateway_error(response, self.url)
        if other is not None:
            raise other
        return response.is_success

    def _card(self, response: httpx.Response, timeout: float) -> str:
        try:
            config = self._checked(response, timeout).json()
            # Every model's configuration has a name; only our encoder's has a card.
            if config["name"] == ENCODER:
                card = config.get("parameters", {}).get("model_card", {})
                return str(card.get("string_value", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _probe.not_triton_error(self.url) from error
        raise _probe.not_triton_error(self.url)

    def _read(self, response: httpx.Response, call: Call) -> Tensors:
        try:
            return _tensors(self._checked(response, call.timeout), call.names)
        except (ValueError, KeyError, TypeError) as error:
            raise _probe.not_triton_error(self.url) from error


class HttpTransport(_Shared):
    """Blocking calls; safe to share between threads."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = httpx.Client(**_settings(endpoint))

    def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the requested outputs."""
        try:
            response = self._server.post(**_request(call))
        except httpx.HTTPError as error:
            raise self._failure(error, call.timeout) from error
        return self._read(response, call)

    def card(self, timeout: float) -> str:
        """The model card as JSON text."""
        try:
            response = self._server.get(f"/v2/models/{ENCODER}/config", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._card(response, timeout)

    def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model is ready."""
        try:
            response = self._server.get(f"/v2/models/{model}/ready", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._ready(response)

    def close(self) -> None:
        """Closes the connections."""
        self._server.close()


class AsyncHttpTransport(_Shared):
    """`HttpTransport` with asyncio."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = httpx.AsyncClient(**_settings(endpoint))

    async def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the requested outputs."""
        try:
            response = await self._server.post(**_request(call))
        except httpx.HTTPError as error:
            raise self._failure(error, call.timeout) from error
        return self._read(response, call)

    async def card(self, timeout: float) -> str:
        """The model card as JSON text."""
        try:
            response = await self._server.get(f"/v2/models/{ENCODER}/config", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._card(response, timeout)

    async def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model is ready."""
        try:
            response = await self._server.get(f"/v2/models/{model}/ready", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._ready(response)

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.aclose()
