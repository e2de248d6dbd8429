"""A name server for the tests: one name, whose addresses may change."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

A, IN = 1, 1


class Names:
    """Answers every question for addresses with the same ones.

    Attributes:
        addresses: IPv4 addresses.
        port: Its own port.
    """

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def run(self) -> None:
        """Answers until the socket is closed."""
        while True:
            try:
                question, sender = self._socket.recvfrom(512)
            except OSError:
                return
            if not question:
                return
            self._socket.sendto(self._answer(question), sender)

    def close(self) -> None:
        """Ends `run`."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5
        (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
        found = self.addresses if kind == A else []
        # A response, recursion available, no error; one question, the answers, nothing else.
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        rows = [
            # The name of the question, its time to live, and the address.
            struct.pack(">HHHIH", 0xC00C, A, IN, 1, 4) + socket.inet_aton(address)
            for address in found
        ]
        return head + question[12:end] + b"".join(rows)


@contextmanager
def naming(*addresses: str) -> Iterator[Names]:
    """A name server for the length of a ``with`` block."""
    names = Names(list(addresses))
    thread = Thread(target=names.run)
    thread.start()
    try:
        yield names
    finally:
        names.close()
        thread.join()
