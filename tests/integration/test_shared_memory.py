"""A full /dev/shm: what finds no room ends with an error, and the service goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.launch import own_disk
from benchmarks.service import Service
from emotion2vec_client import Client, Emotion2VecError, Timeline
from server.reaper import SHM
from tests.conftest import SAMPLES, speech_like

HAPPY = SAMPLES / "happy.wav"
WAIT_SECONDS = 60


@pytest.fixture
def service(tiny_repository: Path) -> Iterator[Service]:
    """With a /dev/shm of its own; nothing of it had to be started again at the end."""
    with Service(tiny_repository, within=own_disk(SHM, 256)) as running:
        running.wait_until_ready()
        yield running
        assert "runs again" not in running.said


def test_clips_are_answered_all_the_same(service: Service) -> None:
    """Also the largest: their room is taken at the start."""
    lengths = [480_000, 20_000, 480_000, 30_000, 480_000, 16_000, 300_000, 100_000]
    clips = {length: (speech_like(length), 16_000) for length in lengths}

    def ask(length: int) -> np.ndarray:
        frames = client.predict(clips[length], granularity="frame", embedding=True).frames
        assert frames is not None
        return frames.scores

    with Client(service.grpc_url, retry_seconds=0) as client:
        expected = {length: ask(length) for length in clips}
        service.fill(SHM)
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(ask, lengths * 8))
        for length, scores in zip(lengths * 8, found, strict=True):
            np.testing.assert_allclose(scores, expected[length], atol=1e-5)


def test_a_timeline_ends_with_an_error_and_it_passes(service: Service, tmp_path: Path) -> None:
    """Its answer may be larger than what is taken at the start, and is not tried."""
    recording = tmp_path / "long.flac"
    soundfile.write(recording, np.zeros(15 * 60 * 16_000, np.float32), 16_000)
    begun = threading.Event()

    def watch(share: float) -> None:
        if share > 0:
            begun.set()

    def ask() -> Timeline:
        return client.timeline(
            recording, segmentation="fixed", window=1.0, hop=0.25, embedding=True,
            progress=watch, timeout=WAIT_SECONDS,
        )  # fmt: skip

    with Client(service.grpc_url, retry_seconds=0) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        assert begun.wait(WAIT_SECONDS)
        service.fill(SHM)
        with pytest.raises(Emotion2VecError, match=r"has no room for an answer of 1\.1 MB"):
            answer.result()
        service.empty(SHM)
        assert client.timeline(HAPPY).segments


def test_without_room_at_the_start_it_says_so(tiny_repository: Path) -> None:
    with Service(tiny_repository, within=own_disk(SHM, 5)) as service:
        assert service.wait() == 1
    assert "5.0 MB free, and the service takes 6 MB" in service.said
