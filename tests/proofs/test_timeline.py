"""The timeline of an hour: borders, speed, memory, and the latency of short requests meanwhile."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.launch import SAMPLES
from benchmarks.service import Service
from benchmarks.target import Target
from emotion2vec_client import Client
from tests.conftest import recordings
from tests.scenarios.conversation import SAMPLE_RATE, Conversation, build

MINUTES = float(os.environ.get("MINUTES", "60"))
# QUIET=1 sends no short requests meanwhile.
QUIET = os.environ.get("QUIET") == "1"
SHORT_EVERY = 2.0
"""Seconds between the short requests."""
ALONE = 15
WARM_SECONDS = 600
WITHIN = 0.25
LOOK_SECONDS = 0.5


def conversation(client: Client, seconds: float) -> Conversation:
    return build([client.decode(file).samples for file in recordings()], seconds)


def mp3(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format="MP3") as writer:
        for start in range(0, len(samples), SAMPLE_RATE):
            writer.write(samples[start : start + SAMPLE_RATE])
    return file.getvalue()


def ask(client: Client) -> float:
    """Seconds until a clip of 3 s is answered."""
    began = time.monotonic()
    client.predict(SAMPLES / "happy.wav")
    return time.monotonic() - began


def spread(times: list[float]) -> str:
    middle, high = np.percentile(times, [50, 95])
    return f"{len(times)}, median {middle:.2f} s, p95 {high:.2f} s, longest {max(times):.2f} s"


def test_an_hour_in_bounded_memory_beside_short_requests(
    repository: Path, show: Callable[[str], None]
) -> None:
    own = Service(repository)
    with Target(own.hosts, own) as target, Client(own.grpc_url) as client:
        # Warm up: the encoder caches something for each new length.
        client.timeline(mp3(conversation(client, WARM_SECONDS).samples))
        truth = conversation(client, MINUTES * 60)
        file = mp3(truth.samples)
        alone = [] if QUIET else [ask(client) for _ in range(ALONE)]
        memory, meanwhile = [sum(target.memory().values())], []
        shares: list[float] = []
        done = threading.Event()

        def look() -> None:
            while not done.wait(LOOK_SECONDS):
                memory.append(sum(target.memory().values()))

        def send() -> None:
            while not QUIET and not done.wait(SHORT_EVERY):
                meanwhile.append(ask(client))

        beside = [threading.Thread(target=each) for each in (look, send)]
        for thread in beside:
            thread.start()
        before, began = target.cpu_seconds(), time.monotonic()
        try:
            found = client.timeline(file, progress=shares.append)
        finally:
            seconds, used = time.monotonic() - began, target.cpu_seconds() - before
            done.set()
            for thread in beside:
                thread.join()
    borders = np.array([(segment.start, segment.end) for segment in found.segments])
    lengths = np.diff(borders)
    right, complete = truth.right(borders, WITHIN), truth.found(borders, WITHIN)
    show(f"{MINUTES:g} min in {len(file) / 2**20:.1f} MB of MP3")
    show(
        f"{len(borders)} segments of {lengths.min():.1f} to {lengths.max():.1f} s, median "
        f"{np.median(lengths):.1f} s; {100 * found.speech_ratio:.0f} % of it is speech"
    )
    show(
        f"within {WITHIN} s: {100 * complete:.1f} % of the {truth.utterances.size} true borders "
        f"were found, {100 * right:.1f} % of the {borders.size} borders found are true"
    )
    speed = found.duration / seconds
    show(f"{seconds:.0f} s: {speed:.1f} times as fast as real time; {used:.0f} s of CPU time")
    show(f"progress: {len(shares)} times, {shares[0]:.3f} to {shares[-1]:.3f}")
    show(f"memory of the server: {memory[0]:.0f} MB before, {max(memory):.0f} MB at most")
    for name, times in (("alone", alone), ("meanwhile", meanwhile)):
        if times:
            show(f"short requests {name}: {spread(times)}")
    assert min(complete, right) >= 0.95
    assert shares == sorted(shares)
    # Memory may grow by the file: Triton, its backend and the decoder have a copy each.
    assert max(memory) - memory[0] < 150 + 6 * len(file) / 2**20
