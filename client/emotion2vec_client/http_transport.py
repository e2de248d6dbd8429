"""KServe v2 over HTTP with the binary tensor extension, through httpx."""

from __future__ import annotations

import json
import ssl
import struct
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from emotion2vec_client import probe
from emotion2vec_client.endpoint import Endpoint
from emotion2vec_client.errors import Emotion2VecError
from emotion2vec_client.protocol import ENCODER, Call, Tensors, error_of

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
"""gRPC's names for HTTP's statuses."""


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    # Plain HTTP has no use for certificates, and loading the trusted ones takes a while.
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
        # The caller bounds what is in flight; a pool of connections must not do it again.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100),
        # A proxy of the environment is for the internet, not for a server on the own network.
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
            JSON_LENGTH: str(len(header)),
            "Content-Type": "application/octet-stream",
        },
    }


def _block(array: npt.NDArray[Any]) -> tuple[bytes, str]:
    """The bytes of a tensor, and KServe's name of its type."""
    if array.dtype == np.object_:
        items = (struct.pack("<I", len(item)) + item for item in array.flat)
        return b"".join(items), "BYTES"
    datatype = next(name for name, kind in DTYPES.items() if array.dtype == np.dtype(kind))
    return array.tobytes(), datatype


def _tensors(response: httpx.Response, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Reads the outputs, which follow each other behind the JSON."""
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
        other = probe.not_http_error(error, self.endpoint)
        if other is not None:
            return other
        late = isinstance(error, httpx.TimeoutException)
        status = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE"
        return error_of(status, str(error) or type(error).__name__, self.url, timeout)

    def _checked(self, response: httpx.Response, timeout: float) -> httpx.Response:
        if response.is_success:
            return response
        other = probe.gateway_error(response, self.url)
        if response.status_code == 405:
            # Such as Triton's metrics, which can only be read.
            other = other or probe.not_triton_error(self.url)
        if other is not None:
            raise other
        try:
            reason = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {response.status_code} {response.reason_phrase}"
        status = STATUSES.get(response.status_code, "INTERNAL")
        raise error_of(status, reason, self.url, timeout)

    def _ready(self, response: httpx.Response) -> bool:
        other = probe.gateway_error(response, self.url)
        if other is not None:
            raise other
        return response.is_success

    def _card(self, response: httpx.Response, timeout: float) -> str:
        try:
            config = self._checked(response, timeout).json()
            # The configuration of any model has its name; only ours have a card.
            if config["name"] == ENCODER:
                card = config.get("parameters", {}).get("model_card", {})
                return str(card.get("string_value", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise probe.not_triton_error(self.url) from error
        raise probe.not_triton_error(self.url)

    def _read(self, response: httpx.Response, call: Call) -> Tensors:
        try:
            return _tensors(self._checked(response, call.timeout), call.names)
        except (ValueError, KeyError, TypeError) as error:
            raise probe.not_triton_error(self.url) from error


class HttpTransport(_Shared):
    """Blocking calls; safe to share between threads."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = httpx.Client(**_settings(endpoint))

    def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the named outputs."""
        try:
            response = self._server.post(**_request(call))
        except httpx.HTTPError as error:
            raise self._failure(error, call.timeout) from error
        return self._read(response, call)

    def card(self, timeout: float) -> str:
        """The model card's text."""
        try:
            response = self._server.get(f"/v2/models/{ENCODER}/config", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._card(response, timeout)

    def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model can answer."""
        try:
            response = self._server.get(f"/v2/models/{model}/ready", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._ready(response)

    def close(self) -> None:
        """Ends the connections."""
        self._server.close()


class AsyncHttpTransport(_Shared):
    """The same with asyncio."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self._server = httpx.AsyncClient(**_settings(endpoint))

    async def infer(self, call: Call) -> Tensors:
        """Runs a model; returns the named outputs."""
        try:
            response = await self._server.post(**_request(call))
        except httpx.HTTPError as error:
            raise self._failure(error, call.timeout) from error
        return self._read(response, call)

    async def card(self, timeout: float) -> str:
        """The model card's text."""
        try:
            response = await self._server.get(f"/v2/models/{ENCODER}/config", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._card(response, timeout)

    async def is_ready(self, model: str, timeout: float) -> bool:
        """Whether a model can answer."""
        try:
            response = await self._server.get(f"/v2/models/{model}/ready", timeout=timeout)
        except httpx.HTTPError as error:
            raise self._failure(error, timeout) from error
        return self._ready(response)

    async def close(self) -> None:
        """Ends the connections."""
        await self._server.aclose()
