"""Finds out that something else than the port of Triton that was meant answers at an address."""

from __future__ import annotations

import json
from typing import Any

import httpx

from emotion2vec_client.endpoint import Endpoint
from emotion2vec_client.errors import WrongAddressError

SETTINGS: dict[str, Any] = {
    "timeout": 2.0,
    # Only http:// is asked for, and loading the trusted certificates takes longer than asking.
    "verify": False,
    "trust_env": False,
}
NOT_HTTP = "illegal"
"""How httpx's errors begin where an answer is not HTTP/1.1."""


def gateway_error(response: httpx.Response, url: str) -> WrongAddressError | None:
    """The error for an answer that is the gateway's, None for any other."""
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
    """The error for an answer that is not HTTP, None where the call failed in another way."""
    if not isinstance(error, httpx.RemoteProtocolError) or not str(error).startswith(NOT_HTTP):
        return None
    return WrongAddressError(
        f"{endpoint.url} does not answer in HTTP: give {endpoint.authority} if that is Triton's "
        "gRPC, or Triton's HTTP port, by default 8000"
    )


def not_triton_error(url: str) -> WrongAddressError:
    """The error for an answer in HTTP that Triton would not give."""
    return WrongAddressError(
        f"{url} answers in HTTP, but not as Triton's HTTP port does: give that, by default "
        "http://localhost:8000"
    )


def ask(endpoint: Endpoint) -> WrongAddressError | None:
    """Asks an address that does not answer gRPC whether it answers HTTP.

    gRPC itself names only the last address that it tried, which for localhost may be the one of
    IPv6 where nothing listens.
    """
    try:
        with httpx.Client(**SETTINGS) as client:
            return _judge(client.get(_question(endpoint)), endpoint)
    except httpx.HTTPError:
        return None


async def ask_async(endpoint: Endpoint) -> WrongAddressError | None:
    """As `ask`, with asyncio."""
    try:
        async with httpx.AsyncClient(**SETTINGS) as client:
            return _judge(await client.get(_question(endpoint)), endpoint)
    except httpx.HTTPError:
        return None


def _question(endpoint: Endpoint) -> str:
    # The key is not sent: who answers is not known yet.
    return f"http://{endpoint.authority}/v2/health/live"


def _judge(response: httpx.Response, endpoint: Endpoint) -> WrongAddressError:
    return gateway_error(response, endpoint.url) or WrongAddressError(
        f"{endpoint.url} answers in HTTP and not in gRPC: give http://{endpoint.authority} if that "
        "is Triton's HTTP, or Triton's gRPC port, by default 8001"
    )
