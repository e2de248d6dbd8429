"""The timeline of a long recording: its borders, its speed, its memory, and who has to wait.

``python -m benchmarks.timeline [--url localhost:8001] [--minutes 60]`` makes a conversation of the
project's samples, encodes it as MP3, asks for its timeline, and sends short requests meanwhile. The
server has to run on this machine, since its memory is measured.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile

from benchmarks.conversation import SAMPLE_RATE, Conversation, build
from emotion2vec_client import Client, Timeline

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
SHORT = SAMPLES / "happy.wav"
SHORT_EVERY = 2.0
"""Seconds between the short requests."""

WARM_SECONDS = 600
WITHIN = 0.25


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="localhost:8001")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--quiet", action="store_true", help="send no short requests meanwhile")
    options = parser.parse_args()
    triton = find_triton(options.url)
    with Client(options.url) as client:
        # The encoder keeps something for each length that it meets, whoever sends it.
        client.timeline(mp3(make(client, WARM_SECONDS)))
        conversation = make(client, options.minutes * 60)
        file = mp3(conversation)
        alone = [] if options.quiet else [ask(client) for _ in range(15)]
        found = measure(client, file, options.quiet, triton)
    print(f"{options.minutes:g} min in {len(file) / 2**20:.1f} MB of MP3")
    report(conversation, found.timeline)
    shares, memory = found.shares, found.memory
    print(
        f"{found.seconds:.0f} s: {found.timeline.duration / found.seconds:.1f} times as fast as "
        f"real time; {found.cpu_seconds:.0f} s of a processor"
    )
    print(f"progress: {len(shares)} times, {shares[0]:.3f} to {shares[-1]:.3f}")
    print(f"memory of the server: {memory[0]:.0f} MB before, {max(memory):.0f} MB at most")
    for name, times in (("alone", alone), ("meanwhile", found.waits)):
        if times:
            print(
                f"short requests {name}: {len(times)}, median {np.median(times):.2f} s, "
                f"p95 {np.percentile(times, 95):.2f} s, longest {max(times):.2f} s"
            )


def make(client: Client, seconds: float) -> Conversation:
    """A conversation of the samples, as the server hears them."""
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix not in (".py", ".md"))
    return build([client.decode(file).samples for file in files if file.is_file()], seconds)


def mp3(conversation: Conversation) -> bytes:
    """The recording as an MP3."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format="MP3") as writer:
        for start in range(0, len(conversation.samples), SAMPLE_RATE):
            writer.write(conversation.samples[start : start + SAMPLE_RATE])
    return file.getvalue()


@dataclass(frozen=True)
class Measured:
    """A timeline and what it took.

    Attributes:
        timeline: The answer.
        seconds: By the clock.
        cpu_seconds: Of a processor, of the server and all that it started.
        memory: Of the same, in megabytes: before, and then twice a second.
        waits: Seconds that each short request took meanwhile.
        shares: Progress, as it was reported.
    """

    timeline: Timeline
    seconds: float
    cpu_seconds: float
    memory: list[float]
    waits: list[float]
    shares: list[float]


def measure(client: Client, file: bytes, quiet: bool, triton: psutil.Process) -> Measured:
    """Asks for the timeline, with short requests meanwhile unless it shall be quiet."""
    waits: list[float] = []
    memory: list[float] = [memory_megabytes(triton)]
    shares: list[float] = []
    done = threading.Event()

    def short_requests() -> None:
        while not done.wait(SHORT_EVERY):
            waits.append(ask(client))

    def watch_memory() -> None:
        while not done.wait(0.5):
            memory.append(memory_megabytes(triton))

    jobs = [watch_memory] if quiet else [watch_memory, short_requests]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    before, started = cpu_seconds(triton), time.monotonic()
    try:
        found = client.timeline(file, progress=shares.append)
    finally:
        seconds = time.monotonic() - started
        done.set()
        for thread in threads:
            thread.join()
    return Measured(found, seconds, cpu_seconds(triton) - before, memory, waits, shares)


def ask(client: Client) -> float:
    """Seconds that a clip of 3 s takes."""
    started = time.monotonic()
    client.predict(SHORT)
    return time.monotonic() - started


def memory_megabytes(triton: psutil.Process) -> float:
    """Memory of Triton and of all that it started, shared pages counted once."""
    total = 0
    for process in (triton, *triton.children(recursive=True)):
        # One that decoded a recording may have ended meanwhile.
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 2**20


def cpu_seconds(triton: psutil.Process) -> float:
    """Time of a processor that Triton and all that it started have taken, ended ones too."""
    return sum(
        sum(process.cpu_times()[:4]) for process in (triton, *triton.children(recursive=True))
    )


def find_triton(url: str) -> psutil.Process:
    """The server that listens at an address of this machine."""
    port = int(url.rpartition(":")[2])
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens at {url}: start the server on this machine")


def report(conversation: Conversation, found: Timeline) -> None:
    """Prints where its borders are."""
    borders = np.array([(segment.start, segment.end) for segment in found.segments])
    lengths = np.diff(borders)
    print(
        f"{len(borders)} segments of {lengths.min():.1f} to {lengths.max():.1f} s, median "
        f"{np.median(lengths):.1f} s; {100 * found.speech_ratio:.0f} % of it is speech"
    )
    print(
        f"within {WITHIN} s: {100 * conversation.found(borders, WITHIN):.1f} % of "
        f"{conversation.utterances.size} true borders have a segment's, "
        f"{100 * conversation.right(borders, WITHIN):.1f} % of {borders.size} segments' borders "
        "are true"
    )


if __name__ == "__main__":
    main()
