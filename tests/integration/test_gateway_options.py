"""Embeddings in the response, several files in a request, and metadata about the model."""

from __future__ import annotations

import io
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from emotion2vec_client import LABELS, Client
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway, wav

HAPPY = SAMPLES / "happy.wav"
SAD = SAMPLES / "sad.mp3"
STORY = SAMPLES / "story.ogg"


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_inline_numbers_are_those_of_the_file(gateway: Gateway, granularity: str) -> None:
    inline = gateway.predict(HAPPY, granularity=granularity, embedding="inline").json()
    file = gateway.predict(HAPPY, granularity=granularity, embedding="file").json()
    saved = np.load(io.BytesIO(gateway.http.get(file["files"]["embedding.npy"]).content))
    np.testing.assert_allclose(np.float32(inline["embedding"]), saved, atol=1e-5)
    assert "embedding.npy" not in inline["files"]
    assert "embedding" not in file
    # result.json does not repeat the embedding.
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
    job = gateway.timeline(STORY, embedding="inline", wait="60").json()
    result = job["result"]
    expected = client.timeline(STORY, embedding=True).embedding
    assert expected is not None
    np.testing.assert_allclose(np.float32(result["embedding"]), expected, atol=1e-4)
    assert gateway.http.get(job["url"]).json() == job
    assert "embedding" not in gateway.http.get(result["files"]["result.json"]).json()
    # Without speech there are no embeddings.
    silent = gateway.timeline(wav(np.zeros(32_000)), embedding="inline", wait="60").json()
    assert silent["result"]["embedding"] == []
    refused = gateway.timeline(STORY, embedding="inline", extract_embedding="true")
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_option")


def test_each_of_several_files_gets_its_own_answer(gateway: Gateway, client: Client) -> None:
    heard = 'emotion2vec_audio_seconds_total{source="api"}'
    before, before_heard = gateway.counts("api"), gateway.metric(heard)
    answer = gateway.post(
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
    assert gateway.counts("api") - before == {"ok": 2, "not_audio": 1, "too_large": 1}
    seconds = happy["duration"] + sad["duration"]
    assert gateway.metric(heard) == pytest.approx(before_heard + seconds)


def test_info_describes_the_model_and_the_limits(gateway: Gateway, client: Client) -> None:
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
    assert gateway.metric(name) == 1


def test_a_result_can_be_removed(gateway: Gateway) -> None:
    folder = Path(gateway.predict(HAPPY).json()["output_dir"])
    job = gateway.timeline(STORY, embedding="inline", wait="60").json()
    for name in (folder.name, Path(job["result"]["output_dir"]).name):
        answer = gateway.http.delete(f"/outputs/{name}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert not (gateway.outputs / name).exists()
        again = gateway.http.delete(f"/outputs/{name}")
        assert (again.status_code, again.json()["code"]) == (404, "not_found")
    gone = gateway.http.get(job["url"])
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
