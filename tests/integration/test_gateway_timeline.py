"""Long recordings over REST, in front of the real Triton."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from emotion2vec_client import Client
from tests.conftest import SAMPLES, speech_like
from tests.integration.gateways import Gateway
from tests.integration.test_gateway import wav

STORY = SAMPLES / "story.ogg"
SHORT = SAMPLES / "happy.wav"
PATIENCE = 60.0
SLOW = {"segmentation": "fixed", "window": "1"}


def start(gateway: Gateway, data: Path | bytes, **fields: Any) -> httpx.Response:
    content = data if isinstance(data, bytes) else data.read_bytes()
    name = "clip" if isinstance(data, bytes) else data.name
    return gateway.http.post("/api/timeline/", files={"audio": (name, content)}, data=fields)


def finished(gateway: Gateway, job: dict[str, Any]) -> dict[str, Any]:
    """Asks until the job is over; what it says of its progress never falls."""
    deadline = time.monotonic() + PATIENCE
    before = 0.0
    while job["status"] == "running":
        assert time.monotonic() < deadline
        assert before <= job["progress"] <= 1
        before = job["progress"]
        time.sleep(0.05)
        job = gateway.http.get(job["url"]).json()
    return job


@pytest.fixture(scope="module")
def long() -> bytes:
    """Ten minutes that are sure to be at work for a while."""
    return wav(speech_like(600 * 16_000))


def outcome(gateway: Gateway, code: str) -> float:
    text = gateway.http.get("/metrics").text
    found = re.search(rf'requests_total\{{outcome="{code}",source="timeline"\}} ([\d.]+)', text)
    return float(found[1]) if found else 0


def test_a_job_ends_with_the_timeline_that_the_client_gets(
    gateway: Gateway, client: Client
) -> None:
    accepted = start(gateway, STORY, extract_embedding="true")
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["location"] == job["url"]
    assert "retry-after" in accepted.headers
    job = finished(gateway, job)
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
    embedding = np.load(io.BytesIO(texts["embedding.npy"].content))
    np.testing.assert_allclose(embedding, expected.embedding, atol=1e-4)


def test_a_short_one_can_be_waited_for(gateway: Gateway) -> None:
    answer = start(gateway, STORY, wait="60", segmentation="fixed", window="4", hop="2")
    assert answer.status_code == 200
    job = answer.json()
    assert job["status"] == "done"
    starts = [segment["start"] for segment in job["result"]["segments"]]
    assert starts == [0, 2, 4, 6, 8, 10]
    assert "embedding.npy" not in job["result"]["files"]
    assert gateway.http.get(job["url"]).json() == job
    # Without the slash as well.
    bare = gateway.http.post("/api/timeline", files={"audio": SHORT.read_bytes()})
    assert bare.status_code == 202


BAD = {
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
    answer = gateway.http.post("/api/timeline/", **options)  # type: ignore[arg-type]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert "\n" not in problem["detail"]


def test_a_job_that_fails_says_why(gateway: Gateway) -> None:
    before = outcome(gateway, "not_audio")
    job = finished(gateway, start(gateway, b"these are words").json())
    assert job["status"] == "failed"
    assert job["problem"]["code"] == "not_audio"
    assert "result" not in job
    assert outcome(gateway, "not_audio") == before + 1


def test_a_job_can_be_cancelled(gateway: Gateway, long: bytes) -> None:
    job = start(gateway, long, **SLOW).json()
    ended = gateway.http.delete(job["url"]).json()
    assert ended["status"] == "cancelled"
    assert gateway.http.get(job["url"]).json()["status"] == "cancelled"
    # Cancelling what is over changes nothing.
    done = start(gateway, SHORT, wait="60").json()
    assert gateway.http.delete(done["url"]).json() == done


def test_who_hangs_up_while_waiting_has_cancelled(gateway: Gateway, long: bytes) -> None:
    before = outcome(gateway, "cancelled")
    data = {"wait": "60", **SLOW}
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post("/api/timeline/", files={"audio": long}, data=data, timeout=1.0)
    deadline = time.monotonic() + PATIENCE
    while outcome(gateway, "cancelled") == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_unknown_job_is_not_found(gateway: Gateway) -> None:
    for method in ("GET", "DELETE"):
        answer = gateway.http.request(method, "/api/timeline/nobody")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_its_limits_are_its_own(url: str, tmp_path: Path, long: bytes) -> None:
    small = {"E2V_MAX_RECORDINGS": "1", "E2V_MAX_RECORDING_BYTES": str(len(long) + 1000)}
    with Gateway(url, tmp_path, **small) as gateway:
        large = start(gateway, long + bytes(20_000))
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        job = start(gateway, long, **SLOW).json()
        refused = start(gateway, SHORT)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "60"
        # A clip is another matter.
        assert gateway.predict(SHORT).status_code == 200
        gateway.http.delete(job["url"])
        assert start(gateway, SHORT, wait="60").status_code == 200


def test_a_gateway_that_ends_leaves_no_work_behind(
    url: str, client: Client, tmp_path: Path, long: bytes
) -> None:
    with Gateway(url, tmp_path) as gateway:
        jobs = [start(gateway, long, **SLOW).json() for _ in range(4)]
        assert {job["status"] for job in jobs} == {"running"}
    # Two are worked on at a time: this one would have to wait for four.
    assert client.timeline(SHORT, timeout=20).duration > 1
