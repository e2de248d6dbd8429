"""A REST client over bare sockets, to time requests exactly and disconnect at any byte."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

BOUNDARY = "emotion2vec"
PATIENCE = 300.0

Address = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """A response of the gateway.

    Attributes:
        status: HTTP status.
        body: The raw body.
        seconds: Seconds from the last byte of the request to the last byte of the response.
    """

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def upload(file: bytes, **fields: str) -> bytes:
    """The complete request that uploads a file to be recognised."""
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, value in fields.items()
    ]
    head = 'Content-Disposition: form-data; name="audio"; filename="clip"\r\n\r\n'
    parts.append(head.encode() + file)
    body = b"".join(f"--{BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts)
    body += f"--{BOUNDARY}--\r\n".encode()
    return (
        "POST /api/predict/ HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def ask(address: Address, request: bytes) -> Answer:
    """Sends a request on a new connection, and waits for the response.

    Raises:
        OSError: The gateway does not respond.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        # Makes `drain` return only after the last byte has been sent.
        writer.transport.set_write_buffer_limits(0)
        writer.write(request)
        await writer.drain()
        sent = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            received = await reader.read()
        seconds = time.perf_counter() - sent
    finally:
        writer.close()
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        raise ConnectionResetError("the gateway closed the connection without a response")
    return Answer(int(head.split(b" ", 2)[1]), body, seconds)


def status(address: Address, request: bytes) -> int:
    """The status of the response to a request."""
    return asyncio.run(ask(address, request)).status


async def get(address: Address, path: str) -> Answer:
    """Requests a path."""
    request = f"GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    return await ask(address, request.encode())


async def hang_up(address: Address, request: bytes, after: float) -> None:
    """Sends a request, or a part of one, and disconnects ``after`` seconds later."""
    _, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(after)
    finally:
        writer.transport.abort()
