"""Embeddings in the answer, several files at once, and what a gateway keeps or does not."""

from __future__ import annotations

import asyncio
import io
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from emotion2vec_client import LABELS, Client
from server.triton import Triton
from tests.conftest import SAMPLES, speech_like
from tests.integration.gateways import Gateway
from tests.integration.test_gateway import HAPPY, executions, wav
from tests.integration.test_gateway_timeline import SLOW, finished, start

SAD = SAMPLES / "sad.mp3"
STORY = SAMPLES / "story.ogg"


def post(gateway: Gateway, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    """Several files in one form."""
    return gateway.http.post(
        "/api/predict/", files=[("audio", file) for file in files], data=fields
    )


def metric(gateway: Gateway, name: str) -> float:
    """The value of a metric, by its name and labels; 0 where there is none."""
    text = gateway.http.get("/metrics").text
    found = re.search(rf"^{re.escape(name)} ([\d.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_inline_numbers_are_those_of_the_file(gateway: Gateway, granularity: str) -> None:
    inline = gateway.predict(HAPPY, granularity=granularity, embedding="inline").json()
    file = gateway.predict(HAPPY, granularity=granularity, embedding="file").json()
    saved = np.load(io.BytesIO(gateway.http.get(file["files"]["embedding.npy"]).content))
    np.testing.assert_allclose(np.float32(inline["embedding"]), saved, atol=1e-5)
    assert "embedding.npy" not in inline["files"]
    assert "embedding" not in file
    # Not twice: result.json is the rest of the answer.
    kept = gateway.http.get(inline["files"]["result.json"]).json()
    assert kept == {name: value for name, value in inline.items() if name != "embedding"}


def test_the_older_field_may_agree_with_the_newer(gateway: Gateway) -> None:
    both = gateway.predict(HAPPY, embedding="file", extract_embedding="true").json()
    assert "embedding.npy" in both["files"]
    inline = gateway.predict(HAPPY, embedding="inline", extract_embedding="false").json()
    assert "embedding.npy" not in inline["files"]
    refused = gateway.predict(HAPPY, embedding="file", extract_embedding="false")
    assert refused.status_code == 422
    assert "extract_embedding=false and embedding=file contradict" in refused.json()["detail"]


def test_a_timeline_has_its_embeddings_inline(gateway: Gateway, client: Client) -> None:
    job = start(gateway, STORY, embedding="inline", wait="60").json()
    result = job["result"]
    expected = client.timeline(STORY, embedding=True).embedding
    np.testing.assert_allclose(np.float32(result["embedding"]), expected, atol=1e-4)
    assert gateway.http.get(job["url"]).json() == job
    assert "embedding" not in gateway.http.get(result["files"]["result.json"]).json()
    # Without speech there are none.
    silent = start(gateway, wav(np.zeros(32_000)), embedding="inline", wait="60").json()
    assert silent["result"]["embedding"] == []
    refused = start(gateway, STORY, embedding="inline", extract_embedding="true")
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_option")


def test_each_of_several_files_gets_its_own_answer(gateway: Gateway, client: Client) -> None:
    ok = 'emotion2vec_requests_total{outcome="ok",source="api"}'
    bad = 'emotion2vec_requests_total{outcome="not_audio",source="api"}'
    heard = 'emotion2vec_audio_seconds_total{source="api"}'
    before = {name: metric(gateway, name) for name in (ok, bad, heard)}
    answer = post(
        gateway,
        ("happy.wav", HAPPY.read_bytes()),
        ("words.txt", b"these are words"),
        ("sad.mp3", SAD.read_bytes()),
        ("large.wav", bytes(11 * 2**20)),
        granularity="frame",
        embedding="inline",
    )
    assert answer.status_code == 200
    assert set(answer.json()) == {"results"}
    happy, words, sad, large = answer.json()["results"]
    for result, path in ((happy, HAPPY), (sad, SAD)):
        expected = client.predict(path)
        assert result["filename"] == path.name
        assert result["scores"] == pytest.approx(expected.scores, abs=1e-5)
        assert len(result["embedding"]) == len(result["frame_scores"]["happy"])
        assert Path(result["output_dir"], "result.json").is_file()
    assert set(words) == {"filename", "code", "detail"}
    assert (words["filename"], words["code"]) == ("words.txt", "not_audio")
    assert (large["filename"], large["code"]) == ("large.wav", "too_large")
    assert metric(gateway, ok) == before[ok] + 2
    assert metric(gateway, bad) == before[bad] + 1
    seconds = happy["duration"] + sad["duration"]
    assert metric(gateway, heard) == pytest.approx(before[heard] + seconds)


def test_a_client_that_hangs_up_has_cancelled_all_its_files(
    url: str, triton: Triton, tmp_path: Path
) -> None:
    before = executions(triton)
    data = wav(speech_like(480_000))

    async def hang_up(address: str) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=120) as http:
            files = [("audio", (f"{number}.wav", data)) for number in range(60)]
            post = asyncio.create_task(http.post("/api/predict/", files=files))
            while executions(triton) == before:
                await asyncio.sleep(0.02)
            post.cancel()
            await asyncio.gather(post, return_exceptions=True)

    with Gateway(url, tmp_path, E2V_MAX_FILES="60") as gateway:
        asyncio.run(hang_up(gateway.url))
        # What comes now is answered behind whatever was not cancelled.
        assert gateway.predict(HAPPY).status_code == 200
        assert metric(gateway, 'emotion2vec_requests_total{outcome="gone",source="api"}') == 60
    assert executions(triton) - before < 40


def test_the_limit_of_files_is_a_setting(url: str, tmp_path: Path) -> None:
    with Gateway(url, tmp_path, E2V_MAX_FILES="1") as gateway:
        refused = post(gateway, ("a", b"RIFF"), ("b", b"RIFF"))
        assert (refused.status_code, refused.json()["code"]) == (422, "too_many_files")
        assert "E2V_MAX_FILES" in refused.json()["detail"]
        assert gateway.predict(HAPPY).status_code == 200


def test_clients_learn_what_they_talk_to(gateway: Gateway, client: Client) -> None:
    info = gateway.http.get("/info").json()
    model = client.model_info()
    for name in ("checkpoint", "revision", "weights", "published", "precision"):
        assert info[name] == getattr(model, name)
    assert info["license"] is None
    assert info["labels"] == [vars(label) for label in LABELS]
    embedding = gateway.predict(HAPPY, embedding="inline").json()["embedding"]
    assert info["embedding_dim"] == len(embedding)
    assert info["frame_hop"] == 0.02
    assert info["version"] == version("emotion2vec-client")
    assert info["limits"]["max_files"] == 16
    assert info["limits"]["max_upload_bytes"] == 10 * 2**20
    labels = f'checkpoint="{model.checkpoint}",precision="{model.precision}",revision=""'
    name = f'emotion2vec_model_info{{{labels},weights="{model.weights}"}}'
    assert metric(gateway, name) == 1


def test_a_result_can_be_removed(gateway: Gateway) -> None:
    folder = Path(gateway.predict(HAPPY).json()["output_dir"])
    job = start(gateway, STORY, embedding="inline", wait="60").json()
    for name in (folder.name, Path(job["result"]["output_dir"]).name):
        answer = gateway.http.delete(f"/outputs/{name}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert not (gateway.outputs / name).exists()
        again = gateway.http.delete(f"/outputs/{name}")
        assert (again.status_code, again.json()["code"]) == (404, "not_found")
    gone = gateway.http.get(job["url"])
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


def test_nothing_is_kept_where_nothing_shall_be(url: str, tmp_path: Path) -> None:
    outputs = tmp_path / "file" / "outputs"
    outputs.parent.write_text("no folder can be made here")
    with Gateway(url, outputs, E2V_KEEP_RESULTS="0") as gateway:
        result = gateway.predict(HAPPY, embedding="inline").json()
        assert result["emotion"] in result["scores"]
        assert len(result["embedding"]) == 64
        assert not {"output_dir", "files"} & set(result)
        job = finished(gateway, start(gateway, STORY, embedding="inline").json())
        assert len(job["result"]["embedding"]) == len(job["result"]["segments"])
        assert not {"output_dir", "files"} & set(job["result"])
        assert gateway.http.get(job["url"]).json() == job
        for field in ({"embedding": "file"}, {"extract_embedding": "true"}):
            for refused in (gateway.predict(HAPPY, **field), start(gateway, STORY, **field)):
                assert refused.status_code == 422
                assert "embedding=inline" in refused.json()["detail"]


def test_all_but_the_audio_is_kept(url: str, tmp_path: Path) -> None:
    with Gateway(url, tmp_path, E2V_KEEP_AUDIO="false") as gateway:
        result = gateway.predict(HAPPY, embedding="file").json()
    assert set(result["files"]) == {"result.json", "embedding.npy"}
    folder = Path(result["output_dir"])
    assert {path.name for path in folder.iterdir()} == set(result["files"])
    assert json.loads((folder / "result.json").read_text("utf-8")) == result


@pytest.mark.parametrize("wait", ["0", "60"])
def test_a_timeline_is_counted_once_under_its_own_source(
    url: str, tmp_path: Path, wait: str
) -> None:
    def counts(gateway: Gateway) -> dict[str, float]:
        text = gateway.http.get("/metrics").text
        pattern = r'requests_total\{outcome="(\w+)",source="(\w+)"\} ([\d.]+)'
        return {f"{source} {code}": float(n) for code, source, n in re.findall(pattern, text)}

    long = wav(speech_like(600 * 16_000))
    with Gateway(url, tmp_path, E2V_MAX_RECORDINGS="1") as gateway:
        job = finished(gateway, start(gateway, STORY, wait=wait).json())
        seconds = job["result"]["duration"]
        expected: dict[str, Any] = {"timeline ok": 1}
        assert counts(gateway) == expected
        assert metric(
            gateway, 'emotion2vec_audio_seconds_total{source="timeline"}'
        ) == pytest.approx(seconds)
        start(gateway, HAPPY, segmentation="words")
        running = start(gateway, long, **SLOW).json()
        assert metric(gateway, "emotion2vec_requests_in_flight") == 1
        assert start(gateway, HAPPY).status_code == 429
        gateway.http.delete(running["url"])
        start(gateway, b"words", wait="60")
        expected |= {"timeline bad_option": 1, "timeline overloaded": 1}
        expected |= {"timeline cancelled": 1, "timeline not_audio": 1}
        assert counts(gateway) == expected
        assert metric(gateway, "emotion2vec_requests_in_flight") == 0
        assert metric(gateway, 'emotion2vec_request_seconds_count{source="timeline"}') == 5
