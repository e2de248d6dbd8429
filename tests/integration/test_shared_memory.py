"""A full /dev/shm: requests end with an error, and the service goes on."""

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

from emotion2vec_client import Client, Emotion2VecError, Prediction, Timeline
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
def service(tiny_repository: Path) -> Iterator[tuple[str, Inside]]:
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
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    there = ["nsenter", "--mount", f"--target={process.pid}", "sh", "-c"]
    try:
        wait_for(Triton(settings).is_ready, WAIT_SECONDS, "ready")
        [tritonserver] = children(process.pid)

        def inside(command: str) -> None:
            subprocess.run([*there, command], check=True)

        yield f"127.0.0.1:{settings.grpc_port}", inside
        assert children(process.pid) == [tritonserver]
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)


def attempt(client: Client, samples: int) -> Prediction | Emotion2VecError:
    """The largest answer that a clip may have, or why there is none."""
    try:
        return client.predict((speech_like(samples), 16_000), granularity="frame", embedding=True)
    except Emotion2VecError as error:
        return error


def test_clips_end_with_an_error_and_it_passes(service: tuple[str, Inside]) -> None:
    url, inside = service
    with Client(url, timeout=10, retry_seconds=0) as client:
        expected = client.predict(HAPPY).scores
        inside(FILL)
        lengths = [480_000, 20_000, 480_000, 30_000, 480_000, 16_000, 300_000, 100_000] * 8
        with ThreadPoolExecutor(12) as pool:
            outcomes = list(pool.map(lambda length: attempt(client, length), lengths))
        errors = [outcome for outcome in outcomes if isinstance(outcome, Emotion2VecError)]
        assert errors
        assert all(len(str(error)) > 20 for error in errors)
        inside(EMPTY)
        assert client.predict(HAPPY).scores == pytest.approx(expected, abs=1e-6)


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
