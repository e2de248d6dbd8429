"""Long recordings over REST, in front of the real Triton."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.launch import wait_until
from emotion2vec_client import Client
from tests.conftest import SAMPLES
from tests.integration.conftest import HoldTimelines
from tests.integration.gateways import Gateway

STORY = SAMPLES / "story.ogg"
SHORT = SAMPLES / "happy.wav"


def test_a_job_ends_with_the_timeline_that_the_client_gets(
    gateway: Gateway, client: Client
) -> None:
    accepted = gateway.timeline(STORY, extract_embedding="true")
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["location"] == job["url"]
    assert "retry-after" in accepted.headers
    job = gateway.finished(job)
    assert (job["status"], job["progress"], job["filename"]) == ("done", 1, "story.ogg")
    result = job["result"]
    expected = client.timeline(STORY, embedding=True)
    assert len(result["segments"]) == len(expected.segments)
    for found, segment in zip(result["segments"], expected.segments, strict=True):
        assert (found["start"], found["end"]) == (segment.start, segment.end)
        assert found["scores"] == pytest.approx(dict(segment.scores), abs=1e-5)
    assert expected.summary is not None
    assert result["summary"]["emotion"] == expected.summary.emotion
    np.testing.assert_allclose(result["peaks"], expected.peaks, atol=0.006)

    folder = Path(result["output_dir"])
    assert folder.parent == gateway.outputs
    assert {path.name for path in folder.iterdir()} == set(result["files"])
    texts = {name: gateway.http.get(address) for name, address in result["files"].items()}
    assert texts["result.json"].json() == result
    assert texts["timeline.csv"].text == expected.to_csv()
    assert texts["timeline.srt"].text == expected.to_srt()
    assert texts["timeline.vtt"].text == expected.to_vtt()
    assert expected.embedding is not None
    embedding = np.load(io.BytesIO(texts["embedding.npy"].content))
    np.testing.assert_allclose(embedding, expected.embedding, atol=1e-4)


def test_a_short_one_can_be_waited_for(gateway: Gateway) -> None:
    answer = gateway.timeline(STORY, wait="60", segmentation="fixed", window="4", hop="2")
    assert answer.status_code == 200
    job = answer.json()
    assert job["status"] == "done"
    starts = [segment["start"] for segment in job["result"]["segments"]]
    assert starts == [0, 2, 4, 6, 8, 10]
    assert "embedding.npy" not in job["result"]["files"]
    assert gateway.http.get(job["url"]).json() == job
    # The path without a slash works too.
    bare = gateway.http.post("/api/timeline", files={"audio": SHORT.read_bytes()})
    assert bare.status_code == 202


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no file": ({"data": {"wait": "1"}}, 400, "missing_file"),
    "segmentation": ({"data": {"segmentation": "words"}}, 422, "bad_option"),
    "wait": ({"data": {"wait": "61"}}, 422, "bad_option"),
    "window": ({"data": {"window": "three"}}, 422, "bad_option"),
    "hop": ({"data": {"segmentation": "fixed", "hop": "9", "wait": "60"}}, 422, "bad_request"),
    "text": ({"files": {"audio": b"words"}, "data": {"wait": "60"}}, 415, "not_audio"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_its_status_and_one_sentence(gateway: Gateway, name: str) -> None:
    options, status, code = BAD[name]
    if name != "no file":
        options = {"files": {"audio": SHORT.read_bytes()}, **options}
    answer = gateway.http.post("/api/timeline/", **options)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert "\n" not in problem["detail"]


def test_a_job_that_fails_says_why(gateway: Gateway) -> None:
    before = gateway.counts("timeline")
    job = gateway.finished(gateway.timeline(b"these are words").json())
    assert job["status"] == "failed"
    assert job["problem"]["code"] == "not_audio"
    assert "result" not in job
    assert gateway.counts("timeline") - before == {"not_audio": 1}


def test_a_job_can_be_cancelled(gateway: Gateway, hold_timelines: HoldTimelines) -> None:
    with hold_timelines():
        job = gateway.timeline(STORY).json()
        ended = gateway.http.delete(job["url"]).json()
    assert ended["status"] == "cancelled"
    assert gateway.http.get(job["url"]).json()["status"] == "cancelled"
    # Cancelling a finished job changes nothing.
    done = gateway.timeline(SHORT, wait="60").json()
    assert gateway.http.delete(done["url"]).json() == done


def test_a_client_that_disconnects_while_waiting_cancels_the_job(
    gateway: Gateway, hold_timelines: HoldTimelines
) -> None:
    before = gateway.counts("timeline")

    async def hang_up() -> None:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=120) as http:
            files = {"audio": STORY.read_bytes()}
            request = http.post("/api/timeline/", files=files, data={"wait": "60"})
            post = asyncio.create_task(request)
            await asyncio.to_thread(wait_until, lambda: gateway.in_flight() == 1, "it was sent")
            post.cancel()
            await asyncio.gather(post, return_exceptions=True)

    with hold_timelines():
        asyncio.run(hang_up())
        wait_until(lambda: gateway.in_flight() == 0, "the job is cancelled")
    assert gateway.counts("timeline") - before == {"cancelled": 1}


def test_an_unknown_job_is_not_found(gateway: Gateway) -> None:
    for method in ("GET", "DELETE"):
        answer = gateway.http.request(method, "/api/timeline/nobody")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
