"""Concurrent clients that do everything clients do, and check that each answer is right."""

from __future__ import annotations

import asyncio
import io
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from benchmarks.launch import SAMPLES
from benchmarks.service import Service
from emotion2vec_client import (
    LABELS,
    AsyncClient,
    Client,
    Emotion2VecError,
    Granularity,
    InvalidAudioError,
    Prediction,
)
from emotion2vec_client.cli.files import SUFFIXES
from tests.scenarios import rest

CLIPS = {
    path.name: path.read_bytes() for path in sorted(SAMPLES.iterdir()) if path.suffix in SUFFIXES
}
GRANULARITIES: tuple[Granularity, ...] = ("utterance", "frame")
TIMEOUT = 120.0

TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 3e-2}
"""How much the answers to one clip may differ between batches, by precision: as a share of the
largest value."""

WAYS = {"grpc": 4, "http": 3, "rest": 4, "bad": 2, "cancel": 2, "hang up": 2}
"""What clients do, and how often each way occurs in one shuffled deck."""

Arrays = Mapping[str, npt.NDArray[np.float64]]


def bad_files() -> dict[str, bytes]:
    """Files that must be refused, each for a different reason."""
    short = CLIPS["short.wav"]
    return {
        "empty": b"",
        "text": b"This is not sound. " * 100,
        "half an M4A": CLIPS["fearful.m4a"][:2000],
        "too short": short[:44] + short[44:244],
        "a WAV of one byte": short[:45],
    }


def endless_flac(tags: int = 300_000) -> bytes:
    """A file that would take minutes to decode, so that the decoder is killed and replaced."""
    comments = b"".join(struct.pack("<I", 8) + b"%06d=x" % number for number in range(tags))
    block = struct.pack("<I", 0) + struct.pack("<I", tags) + comments
    good = CLIPS["angry.flac"]
    # Insert the tags after the marker and STREAMINFO, whose "last block" flag is cleared.
    return good[:4] + b"\0" + good[5:42] + b"\x04" + len(block).to_bytes(3, "big") + block


def arrays_of(prediction: Prediction) -> Arrays:
    """The contents of a prediction, as float64 arrays by name."""
    found = {
        "scores": np.array([prediction.scores[label.name] for label in LABELS]),
        "embedding": prediction.file_embedding,
        "frame_scores": None if prediction.frames is None else prediction.frames.scores,
    }
    return {key: np.asarray(value, float) for key, value in found.items() if value is not None}


def differs(found: Arrays, expected: Arrays, tolerance: float) -> str | None:
    """Which array differs in shape or value, in a sentence; None if all are the same."""
    for name, array in found.items():
        known = expected[name]
        if array.shape != known.shape:
            return f"{name} has shape {array.shape} instead of {known.shape}"
        distance = np.abs(array - known).max() / np.abs(known).max()
        if not distance <= tolerance:
            return f"{name} is off by {distance:.2g} times its largest value"
    return None


DYING_CLIENT = """
import itertools, sys
from emotion2vec_client import Client
client = Client(sys.argv[1])
for outcome in client.predict_many(itertools.repeat(sys.argv[2]), concurrency=4):
    print("answered", flush=True)
"""


class Traffic:
    """Clients of one service.

    Attributes:
        counts: How often each thing happened.
        wrong: Wrong answers, one sentence each.
        failed: Requests with an unexpected error, one sentence each.

    Args:
        service: A ready service.
        seed: Seed for what each client does.

    Raises:
        ValueError: The model's answers to two clips are too similar to tell the clips apart.
    """

    def __init__(self, service: Service, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self._service = service
        self._random = random.Random(seed)
        self._deck: list[str] = []
        self._endless = endless_flac()
        self._bad = bad_files()
        with Client(service.grpc_url, timeout=TIMEOUT) as client:
            self._tolerance = TOLERANCE[client.model_info().precision]
            self._expected = {
                (name, kind): arrays_of(client.predict(clip, granularity=kind, embedding=True))
                for kind in GRANULARITIES
                for name, clip in CLIPS.items()
            }
            self._reasons = {name: _refusal(client, file) for name, file in self._bad.items()}
        for name in CLIPS:
            answer = {"scores": self._expected[name, "utterance"]["scores"]}
            alike = [
                other
                for other in CLIPS
                if other != name
                and differs(answer, self._expected[other, "utterance"], self._tolerance) is None
            ]
            if alike:
                raise ValueError(f"the answers to {name} and {alike[0]} are too similar")

    async def run(self, seconds: float, clients: int) -> None:
        """Runs clients for this many seconds; each sends at least one request."""
        service = self._service
        async with (
            AsyncClient(service.grpc_url, timeout=TIMEOUT) as grpc,
            AsyncClient(service.http_url, timeout=TIMEOUT) as http,
        ):
            clients_of = {"grpc": grpc, "http": http}
            end = time.monotonic() + seconds
            await asyncio.gather(
                self._die(seconds),
                self._send("the endless file", grpc, self._endless, "damaged"),
                *(self._client(clients_of, end) for _ in range(clients)),
            )

    async def burst(self, clients: int, times: int) -> None:
        """All clients send the longest clip at once, which makes the largest possible batches."""
        longest = max(CLIPS, key=lambda name: len(self._expected[name, "frame"]["frame_scores"]))
        async with AsyncClient(self._service.grpc_url, timeout=TIMEOUT) as grpc:
            for _ in range(times):
                await asyncio.gather(
                    *(self._predict("grpc", grpc, longest, "frame", True) for _ in range(clients))
                )

    async def _client(self, clients_of: Mapping[str, AsyncClient], end: float) -> None:
        while True:
            way = self._next_way()
            name = self._random.choice(list(CLIPS))
            kind = self._random.choice(GRANULARITIES)
            embedding = self._random.random() < 0.5
            client = clients_of[self._random.choice(list(clients_of))]
            if way == "rest":
                await self._rest(name, kind, embedding)
            elif way == "hang up":
                await self._hang_up(name)
            elif way == "bad":
                file = self._random.choice(list(self._bad))
                await self._send(file, client, self._bad[file], self._reasons[file])
            elif way == "cancel":
                await self._cancel(client, name, kind)
            else:
                await self._predict(way, clients_of[way], name, kind, embedding)
            if time.monotonic() > end:
                break

    def _next_way(self) -> str:
        """Draws from a shuffled deck, so that even a few requests cover every way."""
        if not self._deck:
            self._deck = [way for way, times in WAYS.items() for _ in range(times)]
            self._random.shuffle(self._deck)
        return self._deck.pop()

    async def _predict(
        self, way: str, client: AsyncClient, name: str, kind: Granularity, embedding: bool
    ) -> None:
        try:
            prediction = await client.predict(CLIPS[name], granularity=kind, embedding=embedding)
        except Emotion2VecError as error:
            self.failed.append(f"{name} over {way}: {error}")
        else:
            self._compare(way, name, kind, arrays_of(prediction))

    async def _rest(self, name: str, kind: Granularity, embedding: bool) -> None:
        address = self._service.rest
        request = rest.upload(CLIPS[name], granularity=kind, extract_embedding=str(embedding))
        try:
            answer = await rest.ask(address, request)
        except OSError as error:
            self.failed.append(f"{name} over rest: {error!r}")
            return
        if answer.status != 200:
            self.failed.append(f"{name} over rest: {answer.status} {answer.body[:200]!r}")
            return
        result = answer.json()
        found = {"scores": np.array([result["scores"][label.name] for label in LABELS])}
        if kind == "frame":
            columns = [result["frame_scores"][label.name] for label in LABELS]
            found["frame_scores"] = np.array(columns).T
        if embedding:
            file = await rest.get(address, result["files"]["embedding.npy"])
            found["embedding"] = np.load(io.BytesIO(file.body)).astype(float)
        self._compare("rest", name, kind, found)

    def _compare(self, way: str, name: str, kind: Granularity, found: Arrays) -> None:
        self.counts[f"answered over {way}"] += 1
        if difference := differs(found, self._expected[name, kind], self._tolerance):
            self.wrong.append(f"{name} over {way}: {difference}")

    async def _send(self, name: str, client: AsyncClient, file: bytes, reason: str | None) -> None:
        """Sends a file that must be refused for this reason."""
        try:
            await client.predict(file)
        except InvalidAudioError as error:
            self.counts["bad files refused"] += 1
            if error.reason != reason:
                self.failed.append(f"{name} was refused as {error.reason} instead of {reason}")
        except Emotion2VecError as error:
            self.failed.append(f"{name}: {error}")
        else:
            self.failed.append(f"{name} was answered")

    async def _cancel(self, client: AsyncClient, name: str, kind: Granularity) -> None:
        """Sends a clip and gives up waiting."""
        asking = asyncio.create_task(client.predict(CLIPS[name], granularity=kind))
        await asyncio.sleep(self._random.uniform(0, 0.1))
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        self.counts["given up"] += 1

    async def _hang_up(self, name: str) -> None:
        """Disconnects during the upload or while waiting for the response."""
        request = rest.upload(CLIPS[name])
        if self._random.random() < 0.5:
            request = request[: self._random.randrange(len(request))]
        await rest.hang_up(self._service.rest, request, self._random.uniform(0, 0.1))
        self.counts["hung up"] += 1

    async def _die(self, seconds: float) -> None:
        """Starts a client process and kills it while it sends."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DYING_CLIENT, self._service.grpc_url),
            str(SAMPLES / "short.wav"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        await process.stdout.readline()
        await asyncio.sleep(self._random.uniform(0, seconds / 4))
        process.kill()
        await process.wait()
        self.counts["killed"] += 1


def _refusal(client: Client, file: bytes) -> str | None:
    try:
        client.predict(file)
    except InvalidAudioError as error:
        return error.reason
    raise ValueError(f"a bad file of {len(file)} bytes was answered instead of refused")
