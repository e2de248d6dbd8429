"""Writes Ogg files."""

from __future__ import annotations

import struct

import numpy as np


def crc_table() -> np.ndarray:
    """The table for Ogg's checksum: uint32 [256]."""
    table = np.arange(256, dtype=np.uint32) << np.uint32(24)
    for _ in range(8):
        table = table << np.uint32(1) ^ np.uint32(0x04C11DB7) * (table >> np.uint32(31))
    return table


CRC = crc_table()


def pages_of(serial: int, bodies: list[tuple[bytes, bytes, int, int]]) -> list[bytes]:
    """Pages of one stream from (segment table, body, granule, flags), without checksums."""
    pages = []
    for number, (segments, body, granule, flags) in enumerate(bodies):
        head = struct.pack(
            "<4sBBqIIIB", b"OggS", 0, flags, granule, serial, number, 0, len(segments)
        )
        pages.append(head + segments + body)
    return pages


def file_of(pages: list[bytes]) -> bytes:
    """A file of these pages, with their checksums."""
    # Compute all pages of one length at once: byte by byte in Python takes minutes.
    lengths = np.array([len(page) for page in pages])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        columns = np.frombuffer(b"".join(pages[i] for i in chosen), np.uint8).reshape(-1, length)
        sums = np.zeros(len(chosen), np.uint32)
        for column in columns.T:
            sums = sums << np.uint32(8) ^ CRC[(sums >> np.uint32(24)) ^ column]
        for i, value in zip(chosen, sums, strict=True):
            pages[i] = pages[i][:22] + struct.pack("<I", value) + pages[i][26:]
    return b"".join(pages)
