"""Requests that a gateway refuses: it has low limits and requires a key."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.launch import wait_until
from gateway.app import create_app
from gateway.settings import Settings
from tests.conftest import SAMPLES
from tests.integration.conftest import HoldTimelines
from tests.integration.gateways import Gateway

HAPPY = SAMPLES / "happy.wav"
STORY = SAMPLES / "story.ogg"
RECORDING_BYTES = 5_000_000


@pytest.fixture(scope="module")
def strict(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    one = dict.fromkeys(("E2V_MAX_IN_FLIGHT", "E2V_MAX_FILES", "E2V_MAX_RECORDINGS"), "1")
    more = {"E2V_MAX_RECORDING_BYTES": str(RECORDING_BYTES), "E2V_API_KEYS": "one,two"}
    with Gateway(url, tmp_path_factory.mktemp("outputs"), **one, **more) as running:
        running.http.headers["Authorization"] = "Bearer two"
        yield running


def test_without_room_a_request_is_refused_at_once(
    strict: Gateway, decoders: list[psutil.Process]
) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(strict.predict, HAPPY)
        wait_until(lambda: strict.in_flight() == 1, "the first is in flight")
        refused = pool.submit(strict.predict, HAPPY).result()
        assert not first.done()
        for each in decoders:
            each.resume()
        assert first.result().status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert strict.predict(HAPPY).status_code == 200


def test_the_limits_of_a_request_are_settings(strict: Gateway) -> None:
    refused = strict.post(("a", b"RIFF"), ("b", b"RIFF"))
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_files")
    assert "E2V_MAX_FILES" in refused.json()["detail"]
    # This is larger than the limit for all files together.
    large = strict.predict(bytes(11 * 2**20))
    assert (large.status_code, large.json()["code"]) == (413, "too_large")


def test_the_limits_of_timelines_are_their_own(
    strict: Gateway, hold_timelines: HoldTimelines
) -> None:
    large = strict.timeline(bytes(RECORDING_BYTES + 20_000))
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    with hold_timelines():
        job = strict.timeline(STORY).json()
        refused = strict.timeline(HAPPY)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "60"
        # The limit does not apply to clips.
        assert strict.predict(HAPPY).status_code == 200
        strict.http.delete(job["url"])
    assert strict.timeline(HAPPY, wait="60").status_code == 200


@pytest.mark.parametrize("wait", ["0", "60"])
def test_a_timeline_is_counted_once_under_its_own_source(
    strict: Gateway, hold_timelines: HoldTimelines, wait: str
) -> None:
    heard = 'emotion2vec_audio_seconds_total{source="timeline"}'
    timed = 'emotion2vec_request_seconds_count{source="timeline"}'
    before, others = strict.counts("timeline"), strict.counts("api")
    seconds, count = strict.metric(heard), strict.metric(timed)
    job = strict.finished(strict.timeline(STORY, wait=wait).json())
    assert strict.counts("timeline") - before == {"ok": 1}
    assert strict.metric(heard) == pytest.approx(seconds + job["result"]["duration"])
    strict.timeline(HAPPY, segmentation="words")
    with hold_timelines():
        running = strict.timeline(STORY).json()
        assert strict.in_flight() == 1
        assert strict.timeline(HAPPY).status_code == 429
        strict.http.delete(running["url"])
    strict.timeline(b"words", wait="60")
    codes = ("ok", "bad_option", "overloaded", "cancelled", "not_audio")
    assert strict.counts("timeline") - before == dict.fromkeys(codes, 1)
    assert strict.counts("api") == others
    assert strict.in_flight() == 0
    assert strict.metric(timed) == count + 5


def test_with_keys_results_are_for_those_who_have_one(strict: Gateway) -> None:
    result = strict.predict(HAPPY).json()
    assert strict.http.get(result["files"]["result.json"]).json() == result
    assert httpx.get(strict.url + result["files"]["result.json"]).status_code == 401
    files = {"audio": HAPPY.read_bytes()}
    assert httpx.post(f"{strict.url}/api/predict/", files=files).status_code == 401


def test_a_disk_that_takes_nothing_is_said_and_ends_nothing(strict: Gateway) -> None:
    shutil.rmtree(strict.outputs)
    strict.outputs.write_text("not a folder")
    answer = strict.predict(HAPPY)
    strict.outputs.unlink()
    assert (answer.status_code, answer.json()["code"]) == (507, "not_saved")
    assert strict.predict(HAPPY).status_code == 200


def test_an_answer_that_takes_too_long_is_a_timeout(
    url: str, tmp_path: Path, decoders: list[psutil.Process]
) -> None:
    async def ask() -> httpx.Response:
        app = create_app(Settings(triton_url=url, outputs=tmp_path, timeout=0.1))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            return await http.post("/api/predict/", files={"audio": HAPPY.read_bytes()})

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
