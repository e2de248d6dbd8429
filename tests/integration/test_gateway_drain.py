"""What a gateway does with the requests that it has accepted when it is told to stop."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.launch import HOST, wait_until
from benchmarks.service import part_name
from server.triton import Triton
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway

REQUESTS = 8
STORY = SAMPLES / "story.ogg"


@pytest.fixture
def decoders(triton: Triton) -> Iterator[list[psutil.Process]]:
    """The processes in which the server decodes; they hang until they are resumed."""
    children = psutil.Process(triton.pid).children(recursive=True)
    found = [child for child in children if part_name(child) == "preprocess"]
    assert found
    for each in found:
        each.suspend()
    yield found
    for each in found:
        each.resume()


def send(gateway: Gateway, pool: ThreadPoolExecutor) -> list[Future[httpx.Response]]:
    """Requests that the gateway has accepted and that wait for Triton."""
    sent = [pool.submit(gateway.predict, STORY) for _ in range(REQUESTS)]
    wait_until(lambda: in_flight(gateway) == REQUESTS, "all are on their way")
    return sent


def in_flight(gateway: Gateway) -> int:
    found = re.search(r"^emotion2vec_requests_in_flight (\d+)", metrics(gateway), re.MULTILINE)
    assert found
    return int(found[1])


def metrics(gateway: Gateway) -> str:
    return httpx.get(f"{gateway.url}/metrics", timeout=60).text


def listens(gateway: Gateway) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, gateway.port)) == 0


def test_what_was_accepted_is_answered(
    url: str, tmp_path: Path, decoders: list[psutil.Process]
) -> None:
    with (
        Gateway(url, tmp_path) as gateway,
        ThreadPoolExecutor(REQUESTS) as pool,
        # An open page is not waited for.
        httpx.stream("GET", f"{gateway.url}/en/gradio_api/heartbeat/page", timeout=60) as page,
    ):
        sent = send(gateway, pool)
        gateway.send(signal.SIGTERM)
        wait_until(lambda: not listens(gateway), "it takes no more")
        assert not any(answer.done() for answer in sent)
        page.read()
        for each in decoders:
            each.resume()
        assert [answer.result().status_code for answer in sent] == [200] * REQUESTS
        gateway.wait()
        assert "Traceback" not in gateway.said


IMPATIENT = """
import sys
from gateway.__main__ import main
from gateway.settings import Settings

Settings.grace = 0.5
sys.argv = ["gateway"]
sys.exit(main())
"""
"""A gateway whose grace ends long before E2V_TIMEOUT, as that of a real one never does."""


def test_what_is_cut_off_is_told_to_come_again(
    url: str, tmp_path: Path, decoders: list[psutil.Process]
) -> None:
    with (
        Gateway(url, tmp_path, program=IMPATIENT) as gateway,
        ThreadPoolExecutor(REQUESTS) as pool,
    ):
        sent = send(gateway, pool)
        gateway.send(signal.SIGTERM)
        for answer in [each.result() for each in sent]:
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            assert answer.headers["retry-after"] == "1"
            assert "x-content-type-options" in answer.headers
        gateway.wait()
        last = [line.text for line in gateway.lines if "was told to stop" in line.text]
        assert len(last) == 1
        assert last[0].startswith(f"gateway: {REQUESTS} requests had no answer")
        assert "Traceback" not in gateway.said


def test_its_lines_are_plain_and_have_its_name(url: str, tmp_path: Path) -> None:
    (tmp_path / "outputs_20260104_120000").mkdir()
    (tmp_path / "outputs_20260104_120000_2").mkdir()
    with Gateway(url, tmp_path, E2V_KEEP_RESULTS="0") as gateway:
        with socket.create_connection((HOST, gateway.port)) as visitor:
            visitor.sendall(b"this is no HTTP\r\n\r\n")
            assert visitor.recv(100).startswith(b"HTTP/1.1 400")
        assert gateway.line("Invalid HTTP").text == "gateway: Invalid HTTP request received."
        removed = "gateway: removed 2 results of earlier runs (E2V_KEEP_RESULTS=0)"
        assert gateway.line("removed").text == removed
    assert not list(tmp_path.iterdir())
    assert all(line.text.startswith("gateway: ") for line in gateway.lines)
