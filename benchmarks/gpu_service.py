"""What Triton answers with the encoder on a GPU: the part ``service`` of benchmarks/gpu.py.

One process cannot send as much as a GPU computes. So several send, each with threads that wait for
one answer before they send the next clip.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import corpus
from benchmarks.corpus import Clip, Deck
from benchmarks.service import Service
from benchmarks.summary import SHORT_SECONDS, percentile
from benchmarks.tables import table
from benchmarks.triton_stats import Statistics, difference
from emotion2vec_client import Client

SENDERS = max(1, (os.cpu_count() or 1) // 4)
"""Processes that send, on the same cores as the decoders."""

WARM_SECONDS, SECONDS = 3.0, 10.0
"""A load is not measured at once, because its first batches have new shapes."""


@dataclass(frozen=True)
class Sent:
    """One answered clip.

    Attributes:
        name: The clip's name.
        seconds: Length of its audio.
        ended: When its answer came, by `time.monotonic`.
        latency: Seconds from sending to the answer.
        scores: FLOAT64 [9], in the order of the labels.
    """

    name: str
    seconds: int
    ended: float
    latency: float
    scores: np.ndarray


def loads() -> dict[str, tuple[int, list[Clip]]]:
    """By name, how many clients send which clips."""
    everything = corpus.clips()
    short = [clip for clip in everything if clip.seconds <= SHORT_SECONDS]
    wav = {clip.seconds: [clip] for clip in everything if clip.format == "wav"}
    return {
        "1 client, WAV files of 10 s": (1, wav[10]),
        "4 clients, clips up to 10 s": (4, short),
        "128 clients, WAV files of 10 s": (128, wav[10]),
        "128 clients, WAV files of 30 s": (128, wav[30]),
        "32 clients, clips of 1 to 30 s": (32, everything),
        "128 clients, clips of 1 to 30 s": (128, everything),
    }


def measure(repository: Path, most: int = 128) -> dict[str, Any]:
    """Starts the service, and puts each load on it.

    Args:
        repository: A complete model repository.
        most: Loads of more clients are left out.

    Returns:
        By load: clips and seconds of audio answered per second, latencies in seconds, mean clips in
        a batch, the share of the time in which an encoder computed (more than 1 with several
        instances), and the largest difference between a score and that of the same clip alone.

    Raises:
        LaunchError: The service does not start.
        Emotion2VecError: A clip was not answered.
    """
    result = {}
    with Service(repository) as service:
        service.wait_until_ready()
        alone = _alone(service.grpc_url)
        statistics = Statistics(service.grpc_url)
        for name, (clients, clips) in loads().items():
            if clients > most:
                continue
            before = statistics.read()
            sent = _send(service.grpc_url, clips, clients)
            encoder = difference(statistics.read(), before)["encoder"]
            waits = [each.latency for each in sent]
            result[name] = {
                "clips": len(sent) / SECONDS,
                "audio": sum(each.seconds for each in sent) / SECONDS,
                "p50": percentile(waits, 0.5),
                "p95": percentile(waits, 0.95),
                "batch": encoder.mean_batch,
                "busy": encoder.busy / (WARM_SECONDS + SECONDS),
                "distance": max(
                    float(np.abs(each.scores - alone[each.name]).max()) for each in sent
                ),
            }
        statistics.close()
    return result


def report(result: dict[str, Any]) -> list[str]:
    """The part of the report, as lines of Markdown."""
    head = ("through Triton", "audio-seconds per second", "clips per second", "median", "p95")
    more = ("clips in a batch", "encoder busy", "scores differ from the lone clip's by")
    rows = [
        (
            name,
            f"{load['audio']:,.0f}",
            f"{load['clips']:,.1f}",
            f"{load['p50'] * 1000:,.0f} ms",
            f"{load['p95'] * 1000:,.0f} ms",
            f"{load['batch']:.1f}",
            f"{load['busy']:.0%}",
            f"{load['distance']:.1e}",
        )
        for name, load in result.items()
    ]
    return [table((*head, *more), rows)]


def _alone(address: str) -> dict[str, np.ndarray]:
    """The scores of each clip when nothing else is computed."""
    with Client(address) as client:
        return {clip.name: _scores(client, clip) for clip in corpus.clips()}


def _send(address: str, clips: list[Clip], clients: int) -> list[Sent]:
    """Sends clips for a time, and returns the answers of the part that is measured."""
    processes = min(SENDERS, clients)
    # A forked process would share gRPC's threads and locks.
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(processes)
    with ProcessPoolExecutor(
        processes, mp_context=spawn, initializer=_wait_for_all, initargs=(ready,)
    ) as pool:
        # Importing takes a second or two: the load begins when the last process has done it.
        list(pool.map(abs, range(processes)))
        begin = time.monotonic() + WARM_SECONDS
        jobs = [
            pool.submit(
                _send_from_here, address, clips, len(range(number, clients, processes)), begin,
                number,
            )
            for number in range(processes)
        ]  # fmt: skip
        return [sent for job in jobs for sent in job.result()]


def _wait_for_all(ready: Barrier) -> None:
    ready.wait()


def _send_from_here(
    address: str, clips: list[Clip], clients: int, begin: float, seed: int
) -> list[Sent]:
    end = begin + SECONDS
    with Client(address) as client, ThreadPoolExecutor(clients) as pool:
        jobs = [
            pool.submit(_wait_and_repeat, client, Deck(clips, seed * 1000 + number), end)
            for number in range(clients)
        ]
        sent = [each for job in jobs for each in job.result()]
    return [each for each in sent if begin <= each.ended < end]


def _wait_and_repeat(client: Client, deck: Deck, end: float) -> list[Sent]:
    sent = []
    while (began := time.monotonic()) < end:
        clip = deck.draw()
        assert clip is not None
        scores = _scores(client, clip)
        ended = time.monotonic()
        sent.append(Sent(clip.name, clip.seconds, ended, ended - began, scores))
    return sent


def _scores(client: Client, clip: Clip) -> np.ndarray:
    return np.array([score for _, score in sorted(client.predict(clip.data).scores.items())])
