"""Writes report.md and the CSV files beside it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurement import Measurement
from benchmarks.plan import MIXED_CLIENTS, Results
from benchmarks.summary import (
    SHORT_SECONDS,
    audio_rate,
    clip_rate,
    encoder_rate,
    errors,
    judged,
    latencies,
    over_encoder,
    padded_share,
    percentile,
    unfairness,
)
from benchmarks.tables import table


@dataclass(frozen=True)
class Context:
    """What a report contains besides the loads.

    Attributes:
        command: The command that made it.
        began: Date and time of the start.
        target: Target for the p95 of clips up to 10 s, in seconds.
        machine: The result of `machine.describe`.
        by_others: Share of the CPU time that other programs used; None for a service elsewhere.
        cold_start: Seconds until each protocol answered; empty if the service ran already.
        memory: Resident MB by part, when ready and at the end; both empty if it ran already.
    """

    command: str
    began: str
    target: float
    machine: Mapping[str, str]
    by_others: float | None
    cold_start: Mapping[str, float]
    memory: Sequence[Mapping[str, float]]


def verdict(results: Results, target: float) -> list[str]:
    """The loads that missed the target, one sentence each."""
    found = []
    for measured in results.target.values():
        if judged(measured.requests) > target:
            found.append(
                f"{measured.load.name}: p95 is {_p95(measured)}, but the target is {target:g} s"
            )
    return found


def _p95(measured: Measurement) -> str:
    p95 = judged(measured.requests)
    return "endless (errors)" if math.isinf(p95) else f"{p95:.2f} s"


def write(results: Results, context: Context, plots: Iterable[str], folder: Path) -> None:
    """Writes report.md, loads.csv and requests.csv into a folder; report.md shows the plots."""
    rows = [_row(measured) for measured in results]
    _write_csv(folder / "loads.csv", rows)
    _write_csv(folder / "requests.csv", [row for each in results for row in _requests(each)])
    problems = verdict(results, context.target)
    judgement = "; ".join(problems) or f"p95 is within the target of {context.target:g} s"
    sections = [
        f"# Benchmark of {context.began}",
        f"`{context.command}`",
        f"**{'Target missed' if problems else 'Target met'}**: {judgement} "
        f"(clips up to {SHORT_SECONDS} s).",
        table(("measured", "figure"), _headlines(results, context)),
        *(f"![{name}]({name}.png)" for name in plots),
        "## Loads",
        LEGEND,
        table(
            list(COLUMNS),
            [[_shown(row[key], form) for key, form in COLUMNS.values()] for row in rows],
        ),
        "## Errors",
        _errors(results),
        "## Memory",
        _memory(context.memory),
        "## Machine",
        table(("", ""), context.machine.items()),
    ]
    (folder / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


LEGEND = """\
Times are in seconds, without errors. In loads of clients, each client waits for its answer before
it sends the next clip. In the other loads, clips arrive at random times (Poisson), and their time
counts from when they were due. *≤ 10 s*: p95 of clips up to 10 s. *busy*: share of the time in
which the encoder computed. *queue*, *compute*: means per request, from Triton's statistics (a
batch's time counts for each request in it). *padding*: share of a batch that padding to its longest
clip would add; here it is 0. *sender*: CPU time of the load generator, as a share of one core."""


COLUMNS = {
    "load": ("load", "{}"),
    "n": ("requests", "{}"),
    "errors": ("errors", "{}"),
    "p50": ("p50_s", "{:.2f}"),
    "p95": ("p95_s", "{:.2f}"),
    "p99": ("p99_s", "{:.2f}"),
    "max": ("max_s", "{:.2f}"),
    "≤ 10 s": ("p95_short_s", "{:.2f}"),
    "clips/s": ("clips_per_s", "{:.2f}"),
    "audio s/s": ("audio_s_per_s", "{:.2f}"),
    "busy": ("encoder_busy", "{:.0%}"),
    "decode queue": ("preprocess_queue_s", "{:.3f}"),
    "decode compute": ("preprocess_compute_s", "{:.3f}"),
    "encoder queue": ("encoder_queue_s", "{:.2f}"),
    "encoder compute": ("encoder_compute_s", "{:.2f}"),
    "batch": ("mean_batch", "{:.2f}"),
    "padding": ("padded_share", "{:.0%}"),
    "sender": ("sender_share", "{:.0%}"),
}
"""Headings of the report's table: the column of loads.csv and its format."""

Value = str | int | float | None


def _row(measured: Measurement) -> dict[str, Value]:
    """A line of loads.csv."""
    waits = latencies(measured.requests)
    encoder, preprocess = measured.models["encoder"], measured.models["preprocess"]
    sent = [request.clip.seconds for request in measured.requests]
    return {
        "load": measured.load.name,
        "requests": len(measured.requests),
        "errors": len(measured.requests) - len(waits),
        "p50_s": percentile(waits, 0.5),
        "p95_s": percentile(waits, 0.95),
        "p99_s": percentile(waits, 0.99),
        "max_s": max(waits, default=None),
        "p95_short_s": percentile(latencies(measured.requests, SHORT_SECONDS), 0.95),
        "clips_per_s": clip_rate(measured),
        "audio_s_per_s": audio_rate(measured),
        "encoder_busy": encoder.busy / measured.wall,
        "preprocess_queue_s": preprocess.mean("queue"),
        "preprocess_compute_s": preprocess.mean("compute"),
        "encoder_queue_s": encoder.mean("queue"),
        "encoder_compute_s": encoder.mean("compute"),
        "mean_batch": encoder.mean_batch,
        "padded_share": padded_share(encoder.batches, sent),
        "sender_share": measured.generator / measured.wall,
    }


def _requests(measured: Measurement) -> list[dict[str, Value]]:
    """The lines of requests.csv for one load."""
    return [
        {
            "load": measured.load.name,
            "protocol": measured.load.protocol,
            "clip_s": request.clip.seconds,
            "format": request.clip.format,
            "due_s": round(request.due, 4),
            "latency_s": round(request.latency, 4),
            "error": request.error,
        }
        for request in measured.requests
    ]


def _headlines(results: Results, context: Context) -> list[tuple[str, str]]:
    """The figures that have a target, and those that describe the service."""
    lines = [
        (
            f"whole request over {protocol}, WAV of {SHORT_SECONDS} s, one at a time, over the "
            "bare encoder (Triton's compute_infer)",
            _shown(over_encoder(measured), "{:.2f} x"),
        )
        for protocol, measured in results.alone.items()
    ]
    many, one = results.closed[MIXED_CLIENTS], results.closed[1]
    bare = encoder_rate(one)
    lines += [
        (
            f"{MIXED_CLIENTS} clients, clips of 1 to 30 s: seconds of audio per second",
            f"{audio_rate(many):.2f}",
        ),
        (
            "the same over the bare encoder's, one clip at a time",
            _shown(audio_rate(many) / bare if bare else None, "{:.2f} x"),
        ),
        (
            "the same: p99 over p50 for clips of equal length",
            _shown(unfairness(many.requests), "{:.1f}"),
        ),
    ]
    lines += [
        (
            f"p95 of clips up to {SHORT_SECONDS} s, {measured.load.clients} clients, {protocol}",
            _p95(measured),
        )
        for protocol, measured in results.target.items()
    ]
    lines += [
        (f"cold start until {protocol} answers", f"{seconds:.1f} s")
        for protocol, seconds in context.cold_start.items()
    ]
    lines += [
        (f"resident memory, {when}", f"{sum(parts.values()):.0f} MB")
        for when, parts in zip(("when ready", "at the end"), context.memory, strict=True)
        if parts
    ]
    if context.by_others is not None:
        lines.append(("share of the CPU time that other programs used", f"{context.by_others:.0%}"))
    return lines


def _errors(results: Results) -> str:
    rows = [
        (measured.load.name, kind, str(count), example)
        for measured in results
        for kind, count, example in errors(measured.requests)
    ]
    return table(("load", "kind", "count", "for example"), rows) if rows else "None."


def _memory(memory: Sequence[Mapping[str, float]]) -> str:
    before, after = memory
    if not before:
        return "Unknown, because the service was not started by the benchmark."
    rows = [(name, f"{before[name]:.0f}", f"{after.get(name, 0):.0f}") for name in before]
    rows.append(("all", f"{sum(before.values()):.0f}", f"{sum(after.values()):.0f}"))
    note = "Resident MB; a page that several processes share counts once for each."
    return f"{note}\n\n{table(('part', 'when ready', 'at the end'), rows)}"


def _shown(value: Value, form: str) -> str:
    return "–" if value is None else form.format(value)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Value]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(
            {key: f"{v:.5g}" if isinstance(v, float) else v for key, v in row.items()}
            for row in rows
        )
