"""The encodings of raw audio in a stream, without a file around it."""

from __future__ import annotations

import numpy as np

FULL_SCALE = 2.0**15
"""The 16-bit value that means 1.0, as in a decoded file."""


def _mu_law() -> np.ndarray:
    """G.711 mu-law: the 16-bit value of each byte, int16 [256]."""
    code = ~np.arange(256, dtype=np.int32)
    size = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return np.where(code & 0x80, 0x84 - size, size - 0x84).astype(np.int16)


def _a_law() -> np.ndarray:
    """G.711 A-law: the 16-bit value of each byte, int16 [256]."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    step, exponent = (code & 0x0F) << 4, (code & 0x70) >> 4
    size = np.where(exponent == 0, step + 8, (step + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.int16)


TABLES = {"mulaw": _mu_law(), "alaw": _a_law()}
ENCODINGS = ("s16le", *TABLES)


class Unpacker:
    """Turns bytes into channels; a cut may be anywhere, also within a sample.

    Args:
        encoding: One of `ENCODINGS`.
        channels: Number of interleaved channels.
    """

    def __init__(self, encoding: str, channels: int) -> None:
        self._table = TABLES.get(encoding)
        self._channels = channels
        self._size = channels * (2 if self._table is None else 1)
        self._rest = b""

    def push(self, data: bytes) -> list[np.ndarray]:
        """Takes the next bytes; returns the whole samples of each channel, float32 [n]."""
        data = self._rest + data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        if self._table is None:
            values = np.frombuffer(data[:whole], "<i2")
        else:
            values = self._table[np.frombuffer(data[:whole], np.uint8)]
        samples = (values / FULL_SCALE).astype(np.float32)
        return [samples[number :: self._channels] for number in range(self._channels)]
