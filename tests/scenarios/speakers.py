"""People who speak into streams in real time, or faster: what they hear back, and how late."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from audio.limits import Limits
from audio.segmentation import PAD
from benchmarks.launch import SAMPLES
from emotion2vec_client import AsyncClient, Measurement, StreamTotals

FRAME = 320
"""Samples in a message: 20 ms."""

NAMES = ("happy.wav", "sad.mp3", "neutral.wav", "angry.flac", "mandarin.ogg")


def conversation(seconds: float, share: float, seed: int, limits: Limits) -> np.ndarray:
    """Sentences with pauses between them, int16 [n] at 16 kHz.

    Args:
        seconds: Length.
        share: Share of it that is sentences.
        seed: Decides their order and the pauses.
        limits: Of the decoder.
    """
    random = np.random.default_rng(seed)
    clips = [decode((SAMPLES / name).read_bytes(), limits).samples for name in NAMES]
    parts: list[np.ndarray] = []
    length = 0
    while length < seconds * SAMPLE_RATE:
        clip = clips[int(random.integers(len(clips)))]
        mean = len(clip) * (1 - share) / share
        # At least 1.2 s, so that each sentence is over before the next.
        pause = np.zeros(int(max(1.2 * SAMPLE_RATE, random.uniform(0.5, 1.5) * mean)), np.float32)
        parts += [pause, clip]
        length += len(pause) + len(clip)
    samples = np.concatenate(parts)[: int(seconds * SAMPLE_RATE)]
    return np.clip(np.rint(samples * 2.0**15), -(2**15), 2**15 - 1).astype("<i2")


@dataclass
class Speaker:
    """One who speaks, and hears.

    Attributes:
        samples: int16 [n] at 16 kHz.
        speed: Times real time.
        measurements: What came back.
        lags: Seconds from the end of speech to its final measurement.
        interim_lags: Seconds from the last sample of an interim measurement to that.
        totals: Of the stream.
        heard: Called with each measurement.
    """

    samples: np.ndarray
    speed: float = 1.0
    measurements: list[Measurement] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    interim_lags: list[float] = field(default_factory=list)
    totals: StreamTotals | None = None
    heard: Callable[[Measurement], None] = lambda measurement: None

    async def speak(self, client: AsyncClient, gateway: str, interval: float = 1.5) -> None:
        """Speaks to the end."""
        ends: list[int] = []
        times: list[float] = []
        async with client.stream(gateway=gateway, interval=interval) as stream:

            async def send() -> None:
                began = time.monotonic()
                for start in range(0, len(self.samples), FRAME):
                    frame = self.samples[start : start + FRAME]
                    # A frame can be sent when its last sample has been spoken.
                    due = began + (start + len(frame)) / SAMPLE_RATE / self.speed
                    if (wait := due - time.monotonic()) > 0:
                        await asyncio.sleep(wait)
                    ends.append(start + len(frame))
                    times.append(time.monotonic())
                    await stream.send(frame.tobytes())
                await stream.finish()

            sending = asyncio.create_task(send())
            async for measurement in stream:
                now = time.monotonic()
                self.measurements.append(measurement)
                self.heard(measurement)
                final = measurement.kind == "final"
                spoken = measurement.end - (PAD if final else 0)
                index = min(bisect_left(ends, spoken * SAMPLE_RATE), len(times) - 1)
                (self.lags if final else self.interim_lags).append(now - times[index])
            await sending
        self.totals = stream.totals


async def speak_all(url: str, gateway: str, speakers: list[Speaker], interval: float = 1.5) -> None:
    """Lets all of them speak at once."""
    async with AsyncClient(url) as client, asyncio.TaskGroup() as group:
        for speaker in speakers:
            group.create_task(speaker.speak(client, gateway, interval))


def sentences(speakers: list[Speaker]) -> Iterator[Measurement]:
    """The final measurements of all."""
    for speaker in speakers:
        yield from (each for each in speaker.measurements if each.kind == "final")
