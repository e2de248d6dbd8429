"""Computes figures from requests."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from audio.layout import SAMPLE_RATE, slot_count
from benchmarks.measurement import Measurement, Request

SHORT_SECONDS = 10
"""The latency target applies to clips up to this length."""


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least ``share`` (0 to 1) of all values do not exceed, or None."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latencies(requests: Iterable[Request], longest: float = math.inf) -> list[float]:
    """Latencies of the answered clips up to ``longest`` seconds."""
    return [r.latency for r in requests if not r.error and r.clip.seconds <= longest]


def judged(requests: Iterable[Request]) -> float:
    """The p95 that is compared with the target: clips up to 10 s, with errors as infinite latency.

    Without requests it is infinite too, because nothing proves that the target is met.
    """
    waits = [
        math.inf if r.error else r.latency for r in requests if r.clip.seconds <= SHORT_SECONDS
    ]
    p95 = percentile(waits, 0.95)
    return math.inf if p95 is None else p95


def answered_audio(measurement: Measurement) -> float:
    """Seconds of audio in all answered clips."""
    return sum(request.clip.seconds for request in measurement.requests if not request.error)


def audio_rate(measurement: Measurement) -> float:
    """Seconds of audio answered per second."""
    return answered_audio(measurement) / measurement.wall


def clip_rate(measurement: Measurement) -> float:
    """Clips answered per second."""
    return len(latencies(measurement.requests)) / measurement.wall


def arrival_rate(measurement: Measurement) -> float:
    """Clips per second that were due, up to the last one."""
    return len(measurement.requests) / max(request.due for request in measurement.requests)


def encoder_rate(measurement: Measurement) -> float | None:
    """Seconds of audio per second in which the encoder computed; None if it computed nothing.

    Each clip passes the encoder once. With one clip at a time, this is the bare encoder's speed.
    """
    busy = measurement.models["encoder"].busy
    return answered_audio(measurement) / busy if busy else None


def over_encoder(measurement: Measurement) -> float | None:
    """Time of whole requests divided by the encoder's time; None if it computed nothing."""
    busy = measurement.models["encoder"].busy
    return sum(latencies(measurement.requests)) / busy if busy else None


def unfairness(requests: Sequence[Request]) -> float | None:
    """p99 over p50 for clips of equal length: how much longer unlucky clips wait.

    Each latency is divided by the median for its length. The result is the p99 of all quotients,
    because a single length has too few requests for its own p99.
    """
    by_length: dict[int, list[float]] = defaultdict(list)
    for request in requests:
        if not request.error:
            by_length[request.clip.seconds].append(request.latency)
    medians = {length: median(values) for length, values in by_length.items()}
    relative = [value / medians[length] for length, each in by_length.items() for value in each]
    return percentile(relative, 0.99)


def padded_share(batches: Mapping[int, int], lengths: Sequence[float]) -> float | None:
    """Share of slots that would be padding if each batch were padded to its longest clip.

    It is unknown which clips shared a batch. This is the expected value for batches of the observed
    sizes, drawn at random from the clips that were sent.

    Args:
        batches: Executions by batch size.
        lengths: Seconds of every clip sent.

    Returns:
        0 to 1, or None if nothing ran.
    """
    if not batches or not lengths:
        return None
    slots = sorted(slot_count(int(seconds * SAMPLE_RATE)) for seconds in lengths)
    count = len(slots)
    mean = sum(slots) / count
    used = padded = 0.0
    for size, executions in batches.items():
        # P(longest of `size` <= slots[i]) = ((i + 1) / count) ** size
        longest = sum(
            slot * (((i + 1) / count) ** size - (i / count) ** size) for i, slot in enumerate(slots)
        )
        used += executions * size * mean
        padded += executions * size * longest
    return 1 - used / padded


def errors(requests: Iterable[Request]) -> list[tuple[str, int, str]]:
    """Kind, count and an example of each error, the most frequent first.

    Messages that differ only in numbers are of one kind.
    """
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for request in requests:
        if request.error:
            kind = re.sub(r"\d+(\.\d+)?", "N", request.error)
            kinds[kind] += 1
            examples.setdefault(kind, request.error)
    return [
        (examples[kind].partition(":")[0], count, examples[kind].partition(": ")[2])
        for kind, count in kinds.most_common()
    ]
