"""A full /dev/shm: what finds no room ends with an error, and the service goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion2vec_client import Client, Emotion2VecError, Timeline
from server.triton import Triton
from tests.conftest import ROOT, SAMPLES, settings_for, speech_like
from tests.integration.test_process import children, wait_for

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="a small /dev/shm of one's own takes root"
)

HAPPY = SAMPLES / "happy.wav"
WAIT_SECONDS = 60
SMALL_SHM = """
mount -t tmpfs -o size=256m tmpfs /dev/shm && exec "$@"
"""

Inside = Callable[[str], None]
FILL = "head -c 1G /dev/zero > /dev/shm/filler 2>/dev/null; true"
EMPTY = "rm /dev/shm/filler"


@pytest.fixture
def service(tiny_repository: Path, tmp_path: Path) -> Iterator[tuple[str, Inside]]:
    """The address of a service with a /dev/shm of its own, and what runs commands there.

    Nobody else's /dev/shm is filled; and nothing had to be started again at the end.
    """
    settings = settings_for(tiny_repository)
    command = [
        *("unshare", "--mount", "sh", "-c", SMALL_SHM, "sh"),
        *(sys.executable, "-m", "server", "--model-repository", str(tiny_repository)),
        f"--http-port={settings.http_port}",
        f"--grpc-port={settings.grpc_port}",
        f"--metrics-port={settings.metrics_port}",
    ]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    there = ["nsenter", "--mount", f"--target={process.pid}", "sh", "-c"]
    try:
        wait_for(Triton(settings).is_ready, WAIT_SECONDS, "ready")
        [tritonserver] = children(process.pid)

        def inside(command: str) -> None:
            subprocess.run([*there, command], check=True)

        yield f"127.0.0.1:{settings.grpc_port}", inside
        assert children(process.pid) == [tritonserver], log.read_text()
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def test_clips_are_answered_all_the_same(service: tuple[str, Inside]) -> None:
    """Also the largest: their room is taken at the start."""
    url, inside = service
    lengths = [480_000, 20_000, 480_000, 30_000, 480_000, 16_000, 300_000, 100_000]
    clips = {length: (speech_like(length), 16_000) for length in lengths}

    def ask(length: int) -> np.ndarray:
        frames = client.predict(clips[length], granularity="frame", embedding=True).frames
        assert frames is not None
        return frames.scores

    with Client(url, retry_seconds=0) as client:
        expected = {length: ask(length) for length in clips}
        inside(FILL)
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(ask, lengths * 8))
        for length, scores in zip(lengths * 8, found, strict=True):
            np.testing.assert_allclose(scores, expected[length], atol=1e-5)


def test_a_timeline_ends_with_an_error_and_it_passes(
    service: tuple[str, Inside], tmp_path: Path
) -> None:
    """A small file with an answer larger than what the model has of shared memory."""
    url, inside = service
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

    with Client(url, retry_seconds=0) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        assert begun.wait(WAIT_SECONDS)
        inside(FILL)
        with pytest.raises(Emotion2VecError, match=r"has no room for an answer of 1\.1 MB"):
            answer.result()
        inside(EMPTY)
        assert client.timeline(HAPPY).segments
