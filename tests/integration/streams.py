"""Audio for streams, and plain connections, for the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from websockets.sync.client import ClientConnection, connect

from audio.layout import SAMPLE_RATE
from tests.integration.gateways import Gateway

SUBTYPES = {"s16le": "PCM_16", "mulaw": "ULAW", "alaw": "ALAW"}


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    return soxr.resample(samples, SAMPLE_RATE, rate)


def encoded(path: Path, samples: np.ndarray, rate: int, encoding: str) -> bytes:
    """Writes samples, [n] or [n, channels], as a file; returns its bytes without the header."""
    soundfile.write(path, samples, rate, subtype=SUBTYPES[encoding], format="WAV")
    raw = path.with_suffix(".raw")
    soundfile.write(raw, samples, rate, subtype=SUBTYPES[encoding], format="RAW", endian="LITTLE")
    return raw.read_bytes()


@contextmanager
def opened(gateway: Gateway, **options: Any) -> Iterator[ClientConnection]:
    """A plain connection, past its first message."""
    url = gateway.url.replace("http", "ws") + "/api/stream/"
    with connect(url, compression=None, **options) as connection:
        assert json.loads(connection.recv())["type"] == "session.created"
        yield connection


def ask(connection: ClientConnection, message: Any) -> dict:
    connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return json.loads(connection.recv())


def update(**session: Any) -> dict:
    return {"type": "session.update", "session": session}


def metric(gateway: Gateway, name: str) -> float:
    lines = gateway.http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
