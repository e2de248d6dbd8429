"""What a stopping gateway does with the requests that it has accepted."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import psutil

from benchmarks.launch import HOST, wait_until
from emotion2vec_client import Client
from server.leftovers import OWNED_PREFIX
from server.triton import Triton
from tests.conftest import SAMPLES, speech_like
from tests.integration.gateways import Gateway, computed, wav

REQUESTS = 8
KEY = "a key that no log has"
SHORT = SAMPLES / "happy.wav"
STORY = SAMPLES / "story.ogg"

SECONDS = 150
SLOW = {"segmentation": "fixed", "window": "1", "hop": "0.25"}
SEGMENTS = 4 * (SECONDS - 1) + 1


def send(gateway: Gateway, pool: ThreadPoolExecutor) -> list[Future[httpx.Response]]:
    """Sends requests that the gateway accepts and that wait for Triton."""
    sent = [pool.submit(gateway.predict, STORY) for _ in range(REQUESTS)]
    wait_until(lambda: gateway.in_flight() == REQUESTS, "all are in flight")
    return sent


def listens(gateway: Gateway) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, gateway.port)) == 0


def test_what_was_accepted_is_answered(
    url: str, tmp_path: Path, decoders: list[psutil.Process]
) -> None:
    with (
        Gateway(url, tmp_path) as gateway,
        ThreadPoolExecutor(REQUESTS) as pool,
        # The gateway does not wait for open pages.
        httpx.stream("GET", f"{gateway.url}/en/gradio_api/heartbeat/page", timeout=60) as page,
    ):
        sent = send(gateway, pool)
        gateway.send(signal.SIGTERM)
        wait_until(lambda: not listens(gateway), "the port is closed")
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
"""A gateway whose grace period ends long before E2V_TIMEOUT, unlike in production."""


def test_unanswered_requests_are_told_to_retry(
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
        assert f" WARNING gateway: {REQUESTS} requests had no answer" in last[0]
        assert "Traceback" not in gateway.said


def test_sigterm_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    folders, outputs = tmp_path / "temporary", tmp_path / "outputs"
    folders.mkdir()
    gateway = Gateway(f"{HOST}:1", outputs, TMPDIR=str(folders))
    gateway.start()
    try:
        wait_until(lambda: any(folders.iterdir()), "it has made its folder")
    finally:
        code = gateway.end()
    assert code == 0
    assert not any(folders.iterdir())


def test_its_log_is_json_and_it_leaves_nothing_behind(
    url: str, triton: Triton, client: Client, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    for earlier in ("outputs_20260104_120000", "outputs_20260104_120000_2"):
        (outputs / earlier).mkdir(parents=True)
    # If another user's Gradio made this path first, only root could write to it.
    (tmp_path / "gradio").touch()
    own = {"E2V_KEEP_RESULTS": "0", "E2V_LOG_FORMAT": "json", "E2V_API_KEYS": KEY}
    with Gateway(url, outputs, TMPDIR=str(tmp_path), **own) as gateway:
        gateway.http.headers["X-API-Key"] = KEY
        with socket.create_connection((HOST, gateway.port)) as visitor:
            visitor.sendall(b"this is no HTTP\r\n\r\n")
            assert visitor.recv(100).startswith(b"HTTP/1.1 400")
        invalid = json.loads(gateway.line("Invalid HTTP").text)
        assert (invalid["component"], invalid["level"]) == ("uvicorn", "warning")
        removed = json.loads(gateway.line("removed 2 results").text)
        assert (removed["component"], removed["level"]) == ("gateway", "info")
        answer = gateway.predict(SHORT)
        assert answer.status_code == 200
        request = json.loads(gateway.line('"request"').text)
        assert request["id"] == answer.headers["x-request-id"]
        assert datetime.fromisoformat(request["time"]).tzinfo
        expected = {"source": "api", "model": "emotion2vec", "outcome": "ok"}
        assert expected.items() <= request.items()
        assert request["seconds"] > 0

        # The gateway owns the files that visitors upload to the page.
        files = {"files": ("happy.wav", SHORT.read_bytes())}
        [path] = gateway.http.post("/en/gradio_api/upload", files=files).json()
        [folder] = tmp_path.glob(OWNED_PREFIX.format(pid=gateway.process.pid) + "*")
        assert folder in Path(path).parents
        assert Path(path).is_file()
        assert folder.stat().st_mode & 0o077 == 0

        before = computed(triton)
        data = wav(speech_like(SECONDS * 16_000))
        jobs = [gateway.timeline(data, **SLOW).json() for _ in range(4)]
        assert {job["status"] for job in jobs} == {"running"}
    assert not list(outputs.iterdir())
    assert not folder.exists()
    # Only the page's address is printed for people, and not as JSON.
    told = [line.text for line in gateway.lines if "in a browser" not in line.text]
    assert {json.loads(line)["component"] for line in told} <= {"gateway", "uvicorn"}
    assert KEY not in gateway.said
    # Two are worked on at a time: this one would have to wait for three of the four.
    assert client.timeline(SHORT).duration > 1
    assert computed(triton) - before < 2 * SEGMENTS
