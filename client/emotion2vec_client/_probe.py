"""Detects addresses where something other than the right port of Triton answers."""

from __future__ import annotations

import json
from typing import Any

import httpx

from emotion2vec_client._endpoint import Endpoint
from emotion2vec_client.errors import WrongAddressError

SETTINGS: dict[str, Any] = {
    "timeout": 2.0,
    # The probe uses http://, and loading the certificates takes longer than the request.
    "verify": False,
    "trust_env": False,
}
NOT_HTTP = "illegal"
"""How httpx's errors begin if a response is not HTTP/1.1."""


def gateway_error(response: httpx.Response, url: str) -> WrongAddressError | None:
    """The error for a response of the gateway, None for any other."""
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    # Triton's errors have one field, `error`.
    if not (isinstance(body, dict) and {"code", "detail"} <= body.keys()):
        return None
    return WrongAddressError(
        f"{url} is the address of the gateway's page and REST API: give that of Triton itself, by "
        "default localhost:8001 (gRPC) or http://localhost:8000"
    )


def not_http_error(error: httpx.HTTPError, endpoint: Endpoint) -> WrongAddressError | None:
    """The error for a response that is not HTTP, None if the call failed in another way."""
    if not isinstance(error, httpx.RemoteProtocolError) or not str(error).startswith(NOT_HTTP):
        return None
    return WrongAddressError(
        f"{endpoint.url} does not answer in HTTP: give {endpoint.authority} if that is Triton's "
        "gRPC, or Triton's HTTP port, by default 8000"
    )


def not_triton_error(url: str) -> WrongAddressError:
    """The error for an HTTP response that Triton would not send."""
    return WrongAddressError(
        f"{url} answers in HTTP, but not as Triton's HTTP port does: give that, by default "
        "http://localhost:8000"
    )


def ask(endpoint: Endpoint) -> WrongAddressError | None:
    """Checks whether an address that does not speak gRPC speaks HTTP.

    gRPC reports only the last address that it tried: for localhost that may be IPv6, where nothing
    listens.
    """
    try:
        with httpx.Client(**SETTINGS) as client:
            return _judge(client.get(_health_url(endpoint)), endpoint)
    except httpx.HTTPError:
        return None


async def ask_async(endpoint: Endpoint) -> WrongAddressError | None:
    """`ask` with asyncio."""
    try:
        async with httpx.AsyncClient(**SETTINGS) as client:
            return _judge(await client.get(_health_url(endpoint)), endpoint)
    except httpx.HTTPError:
        return None


def _health_url(endpoint: Endpoint) -> str:
    # Without the API key: this may be anyone's server.
    return f"http://{endpoint.authority}/v2/health/live"


def _judge(response: httpx.Response, endpoint: Endpoint) -> WrongAddressError:
    return gateway_error(response, endpoint.url) or WrongAddressError(
        f"{endpoint.url} answers in HTTP and not in gRPC: give http://{endpoint.authority} if that "
        "is Triton's HTTP, or Triton's gRPC port, by default 8001"
    )
