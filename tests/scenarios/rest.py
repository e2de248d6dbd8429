"""The REST endpoint over bare sockets, which can be timed exactly, and hung up at any byte."""

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
    """An answer of the gateway.

    Attributes:
        status: HTTP status.
        body: As it came.
        seconds: From when the request was sent completely until the answer was there completely.
    """

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def upload(file: bytes, **fields: str) -> bytes:
    """The whole request for the recognition of a file."""
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
    """Sends a request on a connection of its own, and waits for the answer.

    Raises:
        OSError: The gateway does not answer.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        # So that `drain` returns when the last byte has gone.
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
        raise ConnectionResetError("the gateway hung up without an answer")
    return Answer(int(head.split(b" ", 2)[1]), body, seconds)


def status(address: Address, request: bytes) -> int:
    """The status that a request is answered with."""
    return asyncio.run(ask(address, request)).status


async def get(address: Address, path: str) -> Answer:
    """Asks for a path."""
    request = f"GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    return await ask(address, request.encode())


async def hang_up(address: Address, request: bytes, after: float) -> None:
    """Sends a request, or a part of one, and is gone ``after`` seconds later."""
    _, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(after)
    finally:
        writer.transport.abort()
