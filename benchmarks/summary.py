"""From requests to figures."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from audio.layout import SAMPLE_RATE, slot_count
from benchmarks.measurement import Measurement, Request

SHORT_SECONDS = 10
"""Clips up to this length are what the target of the latency is about."""


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least ``share`` (0 to 1) of all do not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latencies(requests: Iterable[Request], longest: float = math.inf) -> list[float]:
    """Seconds that the answers took, of clips up to ``longest`` seconds."""
    return [r.latency for r in requests if not r.error and r.clip.seconds <= longest]


def judged(requests: Iterable[Request]) -> float:
    """The p95 that is held against the target: of clips up to 10 s, errors as endless waits.

    Without any request it is endless too: nothing proves that the target is kept.
    """
    waits = [
        math.inf if r.error else r.latency for r in requests if r.clip.seconds <= SHORT_SECONDS
    ]
    p95 = percentile(waits, 0.95)
    return math.inf if p95 is None else p95


def answered_audio(measurement: Measurement) -> float:
    """Seconds of audio that were answered."""
    return sum(request.clip.seconds for request in measurement.requests if not request.error)


def audio_rate(measurement: Measurement) -> float:
    """Seconds of audio answered per second."""
    return answered_audio(measurement) / measurement.wall


def clip_rate(measurement: Measurement) -> float:
    """Clips answered per second."""
    return len(latencies(measurement.requests)) / measurement.wall


def arrival_rate(measurement: Measurement) -> float:
    """Clips per second that were due, until the last one was."""
    return len(measurement.requests) / max(request.due for request in measurement.requests)


def encoder_rate(measurement: Measurement) -> float | None:
    """Seconds of audio per second of the encoder alone; None where it did nothing.

    Each clip passes the encoder once. One clip at a time, this is the bare encoder's speed.
    """
    busy = measurement.models["encoder"].busy
    return answered_audio(measurement) / busy if busy else None


def over_encoder(measurement: Measurement) -> float | None:
    """Whole requests, one at a time, over the encoder's own time; None where it did nothing."""
    busy = measurement.models["encoder"].busy
    return sum(latencies(measurement.requests)) / busy if busy else None


def unfairness(requests: Sequence[Request]) -> float | None:
    """p99 over p50 for clips of equal length: how much worse some fare by chance.

    Each time is divided by the median for its length, and the p99 of all these is taken, since a
    single length has too few requests for a p99 of its own.
    """
    by_length: dict[int, list[float]] = defaultdict(list)
    for request in requests:
        if not request.error:
            by_length[request.clip.seconds].append(request.latency)
    medians = {length: median(values) for length, values in by_length.items()}
    relative = [value / medians[length] for length, each in by_length.items() for value in each]
    return percentile(relative, 0.99)


def padded_share(batches: Mapping[int, int], lengths: Sequence[float]) -> float | None:
    """Share of slots that would be padding, had each batch been padded to its longest clip.

    Which clips met in a batch is not known, so this is what to expect of batches of the observed
    sizes, put together at random from the clips that were sent.

    Args:
        batches: Executions by batch size.
        lengths: Seconds of every clip sent.

    Returns:
        0 to 1, or None where nothing ran.
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
    """Kind, count and an example of what went wrong, the most frequent first.

    Sentences that differ in numbers only are of one kind.
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
