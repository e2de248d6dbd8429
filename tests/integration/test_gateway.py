"""The REST endpoint in front of the real Triton."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile

from benchmarks.launch import PATIENCE, wait_until
from emotion2vec_client import LABELS, Client
from server.triton import Triton
from tests.conftest import SAMPLES, recordings, speech_like
from tests.integration.gateways import Gateway, computed, pending, wav

HAPPY = SAMPLES / "happy.wav"


USERS_NOTES = """
import requests
url = "{url}/api/predict/"
files = {{"audio": open("{file}", "rb")}}
data = {{"granularity": "utterance", "extract_embedding": False}}
response = requests.post(url, files=files, {keyword}=data)
result = response.json()
print(f"情感: {{result['emotion']}}")
print(f"置信度: {{result['confidence']:.2%}}")
"""


@pytest.mark.parametrize("keyword", ["json", "data"])
def test_the_example_in_users_notes_runs_unchanged(
    gateway: Gateway, client: Client, keyword: str
) -> None:
    script = USERS_NOTES.format(url=gateway.url, file=HAPPY, keyword=keyword)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    expected = client.predict(HAPPY)
    first, second = ended.stdout.splitlines()
    assert first == f"情感: {expected.emotion}"
    assert second == f"置信度: {expected.confidence:.2%}"


def test_a_file_alone_is_enough_and_the_fixed_keys_are_there(gateway: Gateway) -> None:
    answer = gateway.predict(HAPPY)
    result = answer.json()
    assert answer.status_code == 200
    assert list(result)[:5] == ["emotion", "confidence", "scores", "granularity", "timestamp"]
    assert list(result["scores"]) == [label.name for label in LABELS]
    assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert result["confidence"] == max(result["scores"].values())
    assert result["granularity"] == "utterance"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", result["timestamp"])
    assert (result["weights"], result["filename"]) == ("pretrained", "happy.wav")
    assert result["sample_rate"] == 44_100
    assert "frame_scores" not in result
    # The path without a slash works too, without a redirect.
    bare = gateway.http.post("/api/predict", files={"audio": HAPPY.read_bytes()})
    assert bare.status_code == 200


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name)
def test_scores_are_those_of_the_file_sent_straight_to_triton(
    gateway: Gateway, client: Client, path: Path
) -> None:
    result = gateway.predict(path, granularity="frame").json()
    expected = client.predict(path, granularity="frame")
    assert expected.frames is not None
    for name, score in expected.scores.items():
        assert result["scores"][name] == pytest.approx(score, abs=1e-5)
    frames = np.array([result["frame_scores"][label.name] for label in LABELS]).T
    np.testing.assert_allclose(frames, expected.frames.scores, atol=1e-5)
    assert result["frame_hop"] == 0.02
    assert result["duration"] == expected.duration


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_each_recognition_leaves_its_files(
    gateway: Gateway, client: Client, granularity: str
) -> None:
    result = gateway.predict(HAPPY, granularity=granularity, extract_embedding="true").json()
    folder = Path(result["output_dir"])
    assert folder.parent == gateway.outputs
    stamp = result["timestamp"].replace("-", "").replace(":", "").replace(" ", "_")
    assert folder.name.startswith(f"outputs_{stamp}")
    assert {path.name for path in folder.iterdir()} == set(result["files"])
    assert json.loads((folder / "result.json").read_text("utf-8")) == result

    heard = gateway.http.get(result["files"]["processed_audio.wav"]).content
    samples, rate = soundfile.read(io.BytesIO(heard))
    assert (rate, samples.ndim) == (16_000, 1)
    assert len(samples) / rate == pytest.approx(result["duration"])
    # The saved audio is what the model heard, so it gets the same answer.
    again = client.predict(heard)
    assert again.scores == pytest.approx(result["scores"], abs=1e-6)

    embedding = np.load(io.BytesIO(gateway.http.get(result["files"]["embedding.npy"]).content))
    expected = client.predict(HAPPY, granularity=granularity, embedding=True).file_embedding  # type: ignore[arg-type]
    assert expected is not None
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, atol=1e-4)


BAD = {
    "missing": ({"data": {"granularity": "frame"}}, 400, "missing_file"),
    "text in its place": ({"data": {"audio": "happy.wav"}}, 400, "missing_file"),
    "not a form": ({"json": {"audio": "happy.wav"}}, 400, "missing_file"),
    "empty": ({"files": {"audio": ("a.wav", b"")}}, 400, "empty"),
    "too large": ({"files": {"audio": bytes(11 * 2**20)}}, 413, "too_large"),
    "text": ({"files": {"audio": ("a.wav", b"these are words")}}, 415, "not_audio"),
    "too short": ({"files": {"audio": wav(np.zeros(160))}}, 422, "too_short"),
    "too long": ({"files": {"audio": wav(np.zeros(31 * 16_000))}}, 422, "too_long"),
    "truncated": (
        {"files": {"audio": (SAMPLES / "angry.flac").read_bytes()[:30_000]}},
        422,
        "damaged",
    ),
    "granularity": (
        {"files": {"audio": HAPPY.read_bytes()}, "data": {"granularity": "word"}},
        422,
        "bad_option",
    ),
    "misspelt": (
        {"files": {"audio": HAPPY.read_bytes()}, "data": {"granularty": "frame"}},
        422,
        "bad_option",
    ),
    "granularity twice": (
        {
            "files": {"audio": HAPPY.read_bytes()},
            "data": {"granularity": ["frame", "utterance"]},
        },
        422,
        "bad_option",
    ),
    "too many files": (
        {"files": [("audio", b"RIFF")] * 17},
        422,
        "too_many_files",
    ),
    "embedding": (
        {"files": {"audio": HAPPY.read_bytes()}, "data": {"embedding": "yes"}},
        422,
        "bad_option",
    ),
    "two wishes": (
        {
            "files": {"audio": HAPPY.read_bytes()},
            "data": {"embedding": "inline", "extract_embedding": "true"},
        },
        422,
        "bad_option",
    ),
    "extract_embedding": (
        {"files": {"audio": HAPPY.read_bytes()}, "data": {"extract_embedding": "perhaps"}},
        422,
        "bad_option",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_its_status_and_one_sentence(gateway: Gateway, name: str) -> None:
    options, status, code = BAD[name]
    before = len(list(gateway.outputs.iterdir()))
    answer = gateway.http.post("/api/predict/", **options)  # type: ignore[arg-type]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert set(problem) == {"code", "detail"}
    assert len(problem["detail"]) > 30
    assert "\n" not in problem["detail"]
    assert len(list(gateway.outputs.iterdir())) == before


@pytest.mark.parametrize(
    "path", ["/outputs/", "/outputs/%2e%2e/pyproject.toml", "/outputs/..%2f..%2fetc/passwd", "/no"]
)
def test_nothing_but_results_is_served(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_metrics_count_what_became_of_requests(gateway: Gateway) -> None:
    before = gateway.counts("api")
    gateway.predict(HAPPY)
    gateway.predict(b"no audio")
    assert gateway.counts("api") - before == {"ok": 1, "not_audio": 1}
    text = gateway.metrics()
    assert "emotion2vec_requests_in_flight 0.0" in text
    assert 'emotion2vec_request_seconds_bucket{le="2.0",source="api"}' in text


def test_many_uploads_at_once_each_get_their_own_answer(gateway: Gateway, client: Client) -> None:
    """Good and bad files, with requests for the page and the health check in between."""
    good = {f"{seed}.wav": wav(speech_like(8000 + 1600 * seed, seed)) for seed in range(10)}
    expected = {name: client.predict(data) for name, data in good.items()}
    bad = {
        "text": (b"these are words", 415),
        "short": (wav(np.zeros(160)), 422),
        "long": (wav(np.zeros(31 * 16_000)), 422),
        "large": (b"\0" * (11 * 2**20), 413),
        "empty": (b"", 400),
    }
    work = [(name, data, 200) for name, data in good.items()] * 4
    work += [(name, data, status) for name, (data, status) in bad.items()] * 8

    async def send_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=gateway.url, timeout=300, limits=limits) as http:
            uploads = [
                http.post("/api/predict/", files={"audio": (name, data)}) for name, data, _ in work
            ]
            # These are sent at the same time.
            others = [http.get(path) for path in ("/health", "/en/", "/metrics", "/ready") * 5]
            answers = await asyncio.gather(*uploads, *others)
        assert {answer.status_code for answer in answers[len(work) :]} == {200}
        return list(answers[: len(work)])

    answers = asyncio.run(send_all())
    for (name, _, status), answer in zip(work, answers, strict=True):
        assert answer.status_code == status, answer.text
        if status == 200:
            result = answer.json()
            assert result["filename"] == name
            assert result["scores"] == pytest.approx(expected[name].scores, abs=1e-5)
            saved = json.loads((Path(result["output_dir"]) / "result.json").read_text("utf-8"))
            assert saved == result
    good_answers = [answer.json() for answer in answers if answer.status_code == 200]
    assert len({result["output_dir"] for result in good_answers}) == 40
    assert not list(gateway.outputs.glob(".unfinished-*"))
    # Pools and caches fill up at some point. A leak in every upload would grow forever.
    memory = [gateway.resident_megabytes()]
    while len(memory) < 10 and (len(memory) < 2 or memory[-1] - max(memory[:-1]) > 5):
        asyncio.run(send_all())
        memory.append(gateway.resident_megabytes())
    assert len(memory) < 10, memory


@pytest.mark.parametrize("at_once", [1, 16])
def test_requests_of_disconnected_clients_are_not_computed(
    gateway: Gateway, triton: Triton, decoders: list[psutil.Process], at_once: int
) -> None:
    """Clients disconnect while all their files still wait, in the gateway or in Triton."""
    before = gateway.counts("api")
    decoded, encoded = computed(triton, "preprocess"), computed(triton)

    async def hang_up() -> None:
        files = [("audio", ("a.wav", HAPPY.read_bytes()))] * at_once
        async with httpx.AsyncClient(base_url=gateway.url, timeout=120) as http:
            posts = [asyncio.create_task(http.post("/api/predict/", files=files)) for _ in range(8)]
            # The gateway sends eight files of a request at a time, and each decoder has one.
            waiting = 8 * min(at_once, 8) - len(decoders)
            await asyncio.to_thread(
                wait_until, lambda: pending(triton, "preprocess") == waiting, "all wait in Triton"
            )
            for post in posts:
                post.cancel()
            await asyncio.gather(*posts, return_exceptions=True)

    asyncio.run(hang_up())
    wait_until(lambda: gateway.in_flight() == 0, "all were given up")
    for each in decoders:
        each.resume()
    # This request is answered after any that were not cancelled.
    assert gateway.predict(HAPPY).status_code == 200
    assert gateway.counts("api") - before == {"gone": 8 * at_once, "ok": 1}
    assert computed(triton) == encoded + 1
    # Each decoder had begun one clip; those that waited in Triton must be cancelled too.
    assert computed(triton, "preprocess") <= decoded + len(decoders) + 1
