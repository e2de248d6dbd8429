"""Streams in real time, while Triton dies, idle by the hundred, and for an hour."""

from __future__ import annotations

import asyncio
import json
import os
import random
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from audio.layout import SAMPLE_RATE
from benchmarks.service import TRITON, Service
from benchmarks.summary import percentile
from benchmarks.tables import table
from emotion2vec_client import Client, Measurement
from tests.fuzz.limits import LIMITS
from tests.scenarios.speakers import Speaker, conversation, sentences, speak_all

MINUTES = float(os.environ.get("MINUTES", "2"))
HOUR_MINUTES = float(os.environ.get("MINUTES", "60"))
IDLE = 500
IDLE_MEGABYTES = 100
GROWTH_MEGABYTES = 30
FUZZED = 10_000
PARTS = 6
"""Parts of the hour, after each of which memory is measured."""


def megabytes(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / 1e6


@pytest.mark.parametrize("count", [1, 8])
def test_streams_in_real_time(
    count: int, repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    """Nothing is lost, and each segment is that of the timeline; the table says how late."""
    with Service(repository, outputs=tmp_path) as service:
        service.wait_until_ready()
        # The first of each length is slow, as after every start.
        warm = [Speaker(conversation(20, 0.4, 99 + n, LIMITS), speed=4) for n in range(count)]
        asyncio.run(speak_all(service.grpc_url, service.rest_url, warm))
        speakers = [Speaker(conversation(MINUTES * 60, 0.4, n, LIMITS)) for n in range(count)]
        asyncio.run(speak_all(service.grpc_url, service.rest_url, speakers))
        with Client(service.grpc_url, timeout=120) as client:
            for speaker in speakers:
                samples = speaker.samples
                timeline = client.timeline((samples, SAMPLE_RATE))
                finals = list(sentences([speaker]))
                assert [(each.start, each.end) for each in finals] == [
                    (segment.start, segment.end) for segment in timeline.segments
                ]
    lags = [lag for speaker in speakers for lag in speaker.lags]
    interim = [lag for speaker in speakers for lag in speaker.interim_lags]
    skipped = sum(each.totals.skipped for each in speakers if each.totals)
    assert [each.totals.failed for each in speakers if each.totals] == [0] * count
    rows = [
        (name, len(values), *(f"{percentile(values, share):.2f} s" for share in (0.5, 0.95, 1)))
        for name, values in (("final", lags), ("interim", interim))
    ]
    show(f"{count} streams of {MINUTES:g} min; {skipped} interim measurements were left out\n")
    show(table(("measurements", "number", "median", "95th percentile", "longest"), rows))


def test_no_final_measurement_is_lost_while_triton_dies(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    with Service(repository, outputs=tmp_path) as service:
        service.wait_until_ready()
        speaker = Speaker(conversation(60, 0.4, 5, LIMITS))

        async def run() -> None:
            speaking = asyncio.create_task(speak_all(service.grpc_url, service.rest_url, [speaker]))
            while not speaker.measurements and not speaking.done():
                await asyncio.sleep(0.1)
            service.part(TRITON).kill()
            await speaking

        asyncio.run(run())
        service.wait_for("Triton is running again")
        with Client(service.grpc_url, timeout=120) as client:
            timeline = client.timeline((speaker.samples, SAMPLE_RATE))
    finals = list(sentences([speaker]))
    assert [(each.start, each.end) for each in finals] == [
        (segment.start, segment.end) for segment in timeline.segments
    ]
    assert speaker.totals.failed == 0
    show(
        f"{len(finals)} of {len(timeline.segments)} final measurements came; the latest "
        f"{max(speaker.lags):.1f} s after the end of speech"
    )


def test_idle_sessions(repository: Path, tmp_path: Path, show: Callable[[str], None]) -> None:
    with Service(repository, outputs=tmp_path, max_streams=IDLE + 1) as service:
        service.wait_until_ready()
        gateway = service.part("gateway")
        url = service.rest_url.replace("http", "ws") + "/api/stream/"

        async def run() -> tuple[float, float]:
            async with connect(url, compression=None) as first:
                await first.recv()
                before = megabytes(gateway)
                opened = [await connect(url, compression=None) for _ in range(IDLE)]
                for each in opened:
                    await each.recv()
                after = megabytes(gateway)
                for each in opened:
                    await each.close()
                return before, after

        before, after = asyncio.run(run())
    show(f"{IDLE} idle sessions: {before:.0f} MB before, {after:.0f} MB with them")
    assert after - before < IDLE_MEGABYTES


def test_an_hour_of_stream(repository: Path, tmp_path: Path, show: Callable[[str], None]) -> None:
    """One stream, as fast as the model answers: the client is slowed down by what waits."""
    part = HOUR_MINUTES * 60 / PARTS
    used: list[float] = []
    with Service(repository, outputs=tmp_path) as service:
        service.wait_until_ready()
        gateway = service.part("gateway")

        def heard(measurement: Measurement) -> None:
            if measurement.end > part * (len(used) + 1):
                used.append(megabytes(gateway))

        samples = conversation(HOUR_MINUTES * 60, 0.4, 7, LIMITS)
        speaker = Speaker(samples, speed=1000, heard=heard)
        began = time.monotonic()
        asyncio.run(speak_all(service.grpc_url, service.rest_url, [speaker]))
        seconds = time.monotonic() - began
    assert speaker.totals is not None
    assert speaker.totals.failed == 0
    show(
        f"{HOUR_MINUTES:g} min in {seconds:.0f} s; gateway after each sixth: "
        + ", ".join(f"{each:.0f} MB" for each in used)
    )
    # The first sixth fills the caches.
    assert used[-1] - used[0] < GROWTH_MEGABYTES


def test_fuzzed_messages(repository: Path, tmp_path: Path, show: Callable[[str], None]) -> None:
    """Each ends in an error event or a clean close, and the gateway goes on."""
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    codes: dict[str, int] = {}
    with Service(repository, outputs=tmp_path) as service:
        service.wait_until_ready()
        gateway = service.part("gateway")
        url = service.rest_url.replace("http", "ws") + "/api/stream/"

        async def run() -> None:
            sent = 0
            while sent < FUZZED:
                async with connect(url, compression=None) as connection:
                    await connection.recv()
                    try:
                        for _ in range(chance.randint(1, 60)):
                            await connection.send(fuzzed(chance))
                            sent += 1
                        await connection.send('{"type": "session.close"}')
                    except ConnectionClosed:
                        pass
                    try:
                        while True:
                            await connection.recv()
                    except ConnectionClosed as closed:
                        code = closed.rcvd.code if closed.rcvd else 0
                        codes[str(code)] = codes.get(str(code), 0) + 1

        asyncio.run(run())
        assert service.part("gateway") == gateway
        assert "Traceback" not in service.said, service.said[-3000:]
    show(table(("close code", "connections"), sorted(codes.items())))
    # 1011 would be an error within the gateway, 1006 and 0 a worker that died.
    assert set(codes) <= {"1000", "1007", "1008", "1009"}


TYPES = ("session.update", "session.close", "input_audio_buffer.append", "x", "", 3, None)
KEYS = ("encoding", "rate", "channels", "interval", "granularity", "policy", "input_audio_format")
VALUES: tuple[Any, ...] = (
    *("s16le", "mulaw", "opus", "frame", "", "\0", -1, 0, 1, 2, 8000, 1e308, -0.5, 10**40),
    *(True, None, [], {}, [[]], {"format": "emotion2vec-policy", "version": 1, "floor": "x"}),
)


def fuzzed(chance: random.Random) -> str | bytes:
    """A message that is wrong in some way, or right by chance."""
    kind = chance.random()
    if kind < 0.2:
        return chance.randbytes(chance.choice((0, 1, 7, 640, 5000)))
    if kind < 0.3:
        return "".join(chance.choices(string.printable, k=chance.randint(0, 60)))
    if kind < 0.31:
        return "[" * 50_000
    session = {chance.choice(KEYS): chance.choice(VALUES) for _ in range(chance.randint(0, 4))}
    message = {
        "type": chance.choice(TYPES[:3] if chance.random() < 0.8 else TYPES),
        chance.choice(("session", "audio", "event_id")): chance.choice((session, *VALUES)),
    }
    if message["type"] == "session.close" and chance.random() < 0.9:
        message["type"] = "session.update"
    if chance.random() < 0.5:
        message["session"] = session
    text = json.dumps(message)
    if chance.random() < 0.2:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(string.printable) + text[at + 1 :]
    return text
