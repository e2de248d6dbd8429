"""Mistakes with the client library: each gives an error of one sentence, before any request."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emotion2vec_client
from emotion2vec_client import AsyncClient, Client
from emotion2vec_client._audio import file_bytes
from emotion2vec_client.cli import main

NOWHERE = "127.0.0.1:9"


@pytest.mark.parametrize("items", ["a.wav", Path("a.wav"), b"RIFF"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_one_recording_is_not_many(kind: type[Client] | type[AsyncClient], items: object) -> None:
    with pytest.raises(TypeError, match=r"items is one recording .*give a list of them"):
        kind(NOWHERE).predict_many(items)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window": 3}, "window is an option of segmentation='fixed': add that"),
        ({"hop": 1, "max_segment": 9}, "hop is an option of segmentation='fixed': add that"),
        (
            {"segmentation": "fixed", "window": 3, "min_segment": 1},
            "min_segment is an option of segmentation='vad': add that",
        ),
        ({"segmentation": "words"}, "unknown segmentation 'words': use 'vad' or 'fixed'"),
    ],
)
def test_an_option_of_the_other_segmentation_is_not_sent(
    options: dict[str, Any], told: str
) -> None:
    with Client(NOWHERE, retry_seconds=0) as client, pytest.raises(ValueError, match=told):
        client.timeline(b"RIFF", **options)

    async def ask() -> None:
        async with AsyncClient(NOWHERE, retry_seconds=0) as client:
            await client.timeline(b"RIFF", **options)

    with pytest.raises(ValueError, match=told):
        asyncio.run(ask())


def test_scipys_order_of_samples_and_rate_is_detected() -> None:
    with pytest.raises(TypeError, match=r"is \(sample_rate, samples\).*give \(samples, sample"):
        file_bytes((16_000, np.zeros(16_000, np.float32)))  # type: ignore[arg-type]
    assert file_bytes((np.zeros(16_000, np.float32), 16_000)).startswith(b"RIFF")


def test_a_closed_client_says_so() -> None:
    client = Client(NOWHERE)
    client.close()
    for ask in (lambda: client.predict(b"RIFF"), client.model_info, client.wait_until_ready):
        with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9 is closed: make a new one"):
            ask()
    with pytest.raises(RuntimeError, match="is closed"):
        list(client.predict_many([b"RIFF"]))


def test_a_closed_asynchronous_client_says_so() -> None:
    async def ask() -> None:
        client = AsyncClient(NOWHERE)
        await client.close()
        for call in (client.predict(b"RIFF"), client.model_info(), client.wait_until_ready()):
            with pytest.raises(RuntimeError, match="is closed: make a new one"):
                await call

    asyncio.run(ask())


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert emotion2vec_client.__version__ == version("emotion2vec-client")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"emotion2vec {version('emotion2vec-client')}\n"


@pytest.mark.parametrize("program", ["server", "gateway", "export"])
def test_every_program_prints_its_version(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "--version"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"{program}.__main__").main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{version('emotion2vec-client')}\n"
