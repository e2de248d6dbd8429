"""Answers of the real Triton, through the client library and over plain KServe."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tritonclient.grpc as kserve
from tritonclient.utils import InferenceServerException

from benchmarks.launch import below, wait_until
from benchmarks.service import part_name
from emotion2vec_client import Client, InvalidAudioError, Prediction
from export import contract
from export.checkpoint import load_folder
from export.reference import Reference
from samples.make import encode
from tests.conftest import SAMPLES, recordings, serving, settings_for, speech_like
from tests.integration.conftest import Gated


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """The bytes of a lossless WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def vector(prediction: Prediction) -> np.ndarray:
    return np.array(list(prediction.scores.values()))


def executions(url: str) -> tuple[int, int]:
    """Requests that the encoder has answered, and the batches that it ran for them."""
    with kserve.InferenceServerClient(url) as raw:
        [stats] = raw.get_inference_statistics("encoder").model_stats
    return stats.inference_count, stats.execution_count


@contextmanager
def held_up(gated: Gated, url: str) -> Iterator[Callable[[int], None]]:
    """Stops the encoder; yields a function that waits until a number of requests are prepared."""
    with kserve.InferenceServerClient(url) as raw:

        def prepared() -> int:
            [stats] = raw.get_inference_statistics("preprocess").model_stats
            return stats.inference_stats.success.count

        before = prepared()
        with gated.held():
            yield lambda count: wait_until(
                lambda: prepared() - before >= count, f"{count} requests are prepared"
            )


@pytest.fixture
def gated_url(gated: Gated) -> str:
    return f"127.0.0.1:{gated.triton.settings.grpc_port}"


@pytest.fixture
def gated_client(gated_url: str) -> Iterator[Client]:
    with Client(gated_url) as connected:
        yield connected


def test_scores_equal_funasrs(client: Client, tiny_checkpoint: Path) -> None:
    checkpoint = load_folder(tiny_checkpoint)
    reference = Reference(checkpoint, checkpoint.build())
    for samples in (400, 720, 16_000, 52_345):
        clip = speech_like(samples, seed=samples)
        truth = reference.run(clip)
        answer = client.predict(wav(clip), granularity="frame", embedding=True)
        assert list(answer.scores) == list(contract.LABELS)
        assert answer.embedding is not None and answer.frames.embedding is not None
        np.testing.assert_allclose(vector(answer), truth.scores, atol=1e-5)
        np.testing.assert_allclose(answer.embedding, truth.embedding, rtol=1e-3, atol=1e-4)
        assert answer.frames.scores.shape == truth.frame_scores.shape
        np.testing.assert_allclose(answer.frames.scores, truth.frame_scores, atol=1e-5)
        np.testing.assert_allclose(
            answer.frames.embedding, truth.frame_embedding, rtol=1e-3, atol=1e-4
        )


def test_sixteen_lengths_at_once_share_batches_and_keep_their_answers(
    gated: Gated, gated_url: str, gated_client: Client
) -> None:
    clips = [wav(speech_like(400 + 8_000 * i, seed=i)) for i in range(16)]
    alone = [gated_client.predict(clip, granularity="frame") for clip in clips]
    before = executions(gated_url)
    with ThreadPoolExecutor(len(clips)) as pool:
        with held_up(gated, gated_url) as wait_for:
            answers = pool.map(lambda clip: gated_client.predict(clip, granularity="frame"), clips)
            wait_for(len(clips))
        together = list(answers)
    # Triton counts a request a moment after it answers it.
    wait_until(lambda: executions(gated_url)[0] - before[0] >= len(clips), "all are counted")
    assert executions(gated_url)[1] - before[1] < len(clips)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(vector(one), vector(other), atol=1e-6)
        np.testing.assert_allclose(one.frames.scores, other.frames.scores, atol=1e-6)
    # No two clips have the same answer, so the comparison above detects a mix-up.
    distances = [np.abs(vector(a) - vector(b)).max() for a, b in itertools.pairwise(together)]
    assert min(distances) > 1e-3


def test_a_short_clip_is_answered_before_a_long_one_that_shares_its_batch(
    gated: Gated, gated_url: str, gated_client: Client
) -> None:
    """This is so even if the long one came first, because a CPU computes a batch in parts."""
    answered: list[int] = []

    def predict(seconds: int) -> None:
        gated_client.predict(wav(speech_like(seconds * 16_000)))
        answered.append(seconds)

    with ThreadPoolExecutor(3) as pool, held_up(gated, gated_url) as wait_for:
        # The first one keeps the encoder busy, so that the others wait together.
        for count, seconds in enumerate((10, 30, 1), start=1):
            pool.submit(predict, seconds)
            wait_for(count)
    assert answered == [10, 1, 30]


def test_a_clip_has_one_row_per_frame(client: Client) -> None:
    for samples, frames in [(400, 1), (719, 1), (720, 2), (16_000, 49), (480_000, 1499)]:
        answer = client.predict(wav(speech_like(samples)), granularity="frame", embedding=True)
        assert answer.frames.scores.shape == (frames, 9)
        assert answer.frames.embedding.shape == (frames, 64)
        np.testing.assert_allclose(answer.frames.scores.sum(axis=1), 1, atol=1e-5)
        assert answer.frames.times[-1] == pytest.approx(0.02 * (frames - 1))


def test_the_same_speech_in_six_formats_gives_the_same_answer(
    client: Client, tmp_path: Path
) -> None:
    """With a high bit rate and room noise: a synthetic voice pauses in digital silence, where the
    frontend's LayerNorm would amplify the tiny differences between codecs."""
    speech, rate = soundfile.read(SAMPLES / "happy.wav", dtype="float32")
    noise = np.random.default_rng(0).standard_normal(speech.shape)
    room = (speech + 0.004 * noise).astype(np.float32)
    answers = {}
    for suffix in ("wav", "flac", "mp3", "m4a", "ogg", "opus"):
        encode(room, rate, tmp_path / f"speech.{suffix}", bits_per_channel=160_000)
        answers[suffix] = client.predict(tmp_path / f"speech.{suffix}")
    for suffix, answer in answers.items():
        assert answer.emotion == answers["wav"].emotion, suffix
        assert np.abs(vector(answer) - vector(answers["wav"])).max() < 0.02, suffix


def test_every_recording_gets_scores_that_sum_to_one(client: Client) -> None:
    answers = [client.predict(path) for path in recordings()]
    assert len(answers) >= 6
    for answer in answers:
        assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)
        assert answer.confidence == max(answer.scores.values())
    # The tiny weights must give different answers, or equality would prove nothing.
    assert max(a.confidence for a in answers) - min(a.confidence for a in answers) >= 0.2


BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"To whom it may concern\n" * 20, "not an audio file"),
    "no samples": (wav(np.zeros(0, np.float32)), "a header but no samples"),
    "10 ms": (wav(speech_like(160)), "10.0 ms and at least 25 ms"),
    "31 s": (
        wav(np.zeros(31 * 8_000, np.float32), 8_000),
        r"at least 3\d\.\d s and the limit is 30 s",
    ),
    "11 MB": (bytes(11 * 2**20), "11.0 MB and the limit is 10 MB"),
    "truncated MP3": (
        (SAMPLES / "sad.mp3").read_bytes()[: (SAMPLES / "sad.mp3").stat().st_size // 2],
        "MP3 file is truncated",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_an_invalid_argument_with_one_sentence(url: str, kind: str) -> None:
    data, reason = BAD[kind]
    with (
        kserve.InferenceServerClient(url) as raw,
        pytest.raises(InferenceServerException, match=reason) as caught,
    ):
        raw.infer("emotion2vec", [file_input(data)])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with Client(url) as client, pytest.raises(InvalidAudioError, match=reason) as refused:
        client.predict(data)
    assert "\n" not in str(refused.value)


def test_good_clips_get_their_answers_among_bad_ones(client: Client) -> None:
    good = [wav(speech_like(3_000 + 1_234 * i, seed=i)) for i in range(8)]
    expected = [vector(client.predict(clip)) for clip in good]
    bad = itertools.cycle(data for data, _ in BAD.values())
    mixed = [item for clip in good for item in (clip, next(bad))]

    def attempt(data: bytes) -> np.ndarray | None:
        try:
            return vector(client.predict(data))
        except InvalidAudioError:
            return None

    with ThreadPoolExecutor(len(mixed)) as pool:
        answers = list(pool.map(attempt, mixed))
    for answer, truth in zip(answers[::2], expected, strict=True):
        assert answer is not None
        np.testing.assert_allclose(answer, truth, atol=1e-6)
    assert all(answer is None for answer in answers[1::2])


def test_silence_is_fine(client: Client) -> None:
    answer = client.predict(wav(np.zeros(16_000, np.float32)))
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)


def test_several_files_in_one_request_are_refused_with_the_way_out(url: str) -> None:
    data = wav(speech_like(8_000))
    audio = kserve.InferInput("audio", [2, 1], "BYTES")
    audio.set_data_from_numpy(np.array([[data], [data]], dtype=object))
    with (
        kserve.InferenceServerClient(url) as raw,
        pytest.raises(InferenceServerException, match="send one per request"),
    ):
        raw.infer("emotion2vec", [audio])


def test_any_kserve_client_gets_labels(url: str) -> None:
    with kserve.InferenceServerClient(url) as raw, Client(url) as client:
        outputs = [kserve.InferRequestedOutput("scores", class_count=2)]
        data = (SAMPLES / "happy.wav").read_bytes()
        result = raw.infer("emotion2vec", [file_input(data)], outputs=outputs)
        best, _ = result.as_numpy("scores")[0]
        score, _, label = best.decode().split(":")
        answer = client.predict(data)
    assert label == answer.emotion
    assert float(score) == pytest.approx(answer.confidence, abs=1e-5)


def test_the_model_card_reaches_the_client(client: Client, tiny_checkpoint: Path) -> None:
    info = client.model_info()
    assert info.weights == "pretrained"
    assert info.checkpoint == str(tiny_checkpoint)
    assert tuple(info.labels) == contract.LABELS
    assert client.predict(SAMPLES / "happy.wav").weights == "pretrained"


def file_input(data: bytes) -> kserve.InferInput:
    audio = kserve.InferInput("audio", [1, 1], "BYTES")
    audio.set_data_from_numpy(np.array([[data]], dtype=object))
    return audio


def test_as_many_processes_decode_as_were_asked_for_wherever_it_was_started(
    tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = replace(settings_for(tiny_repository), decoders=3)
    with serving(settings) as triton, Client(f"127.0.0.1:{triton.settings.grpc_port}") as client:
        names = [part_name(process) for process in below(triton.pid)]
        assert names.count("preprocess") == 3
        assert client.predict(wav(speech_like(16_000))).emotion
