"""Compares the encoder with FunASR, with plain ONNX Runtime, and with the machine's peak speed.

``python benchmarks/encoder.py [--rounds 7] [--seconds 1 3 5 10 30]``, from the root. Every side
is a process of its own, and they take turns clip by clip (export/sides.py). It prints a table and
writes JSON. ``mix`` is a batch of four clips (FunASR computes them one after the other).

``--device cuda`` does the same on a GPU, with larger batches and also with FunASR in fp16. There
``mix`` is 32 clips (docs/gpu.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import platform
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.sides import Side

ROOT = Path(__file__).resolve().parent.parent
RATE = 16_000
SECONDS = {"cpu": [1, 3, 5, 10, 30], "cuda": [10, 30]}
"""Lengths of the single clips on each device."""
BATCHES: dict[str, dict[str, list[float]]] = {
    "cpu": {"mix": [1, 3, 5, 10]},
    "cuda": {"8 x 10 s": [10] * 8, "mix": [1 + 29 * number / 31 for number in range(32)]},
}
"""Lengths of the clips in each batch, in seconds."""
SETTLE = 2
SIDE = "benchmarks.encoder_side"


def main() -> None:
    """Measures; prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (%(default)s)")
    parser.add_argument("--seconds", type=int, nargs="+", help="lengths of the clips")
    parser.add_argument("--device", choices=list(SECONDS), default="cpu", help="(%(default)s)")
    parser.add_argument("--checkpoint", default="random:large", help="a folder, or random[:SIZE]")
    parser.add_argument("--output", type=Path, help="JSON file (default: in benchmarks/results/)")
    options = parser.parse_args()
    result = {"machine": machine(), "rounds": options.rounds, "checkpoint": options.checkpoint}
    works: dict[str, list[float]] = {
        f"{n} s": [n] for n in options.seconds or SECONDS[options.device]
    }
    works |= BATCHES[options.device]
    works = dict(sorted(works.items(), key=lambda work: sum(work[1])))
    with tempfile.TemporaryDirectory() as folder:
        common = ["--checkpoint", options.checkpoint, "--folder", folder]
        common += ["--device", options.device]
        print("bench-encoder: exporting ...", flush=True)
        with Side(SIDE, "prepare", *common) as side:
            prepared = side.ask()
        result["machine"]["gpu"] = prepared["gpu"]
        arguments = sides_of(options.device, prepared["precisions"])
        with contextlib.ExitStack() as stack:
            sides = {
                name: stack.enter_context(Side(SIDE, *arguments[name], *common))
                for name in arguments
            }
            matrix = stack.enter_context(Side(SIDE, "matrix", *common))
            result["works"] = {
                name: measure(name, [int(n * RATE) for n in seconds], sides, matrix, options.rounds)
                for name, seconds in works.items()
            }
    print(table(result["works"]))
    now = datetime.now(UTC)
    path = options.output or ROOT / "benchmarks" / "results" / f"encoder-{now:%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"bench-encoder: written to {path}")


def sides_of(device: str, precisions: list[str]) -> dict[str, tuple[str, ...]]:
    """The arguments of each side; FunASR comes first."""
    sides: dict[str, tuple[str, ...]] = {"funasr": ("funasr",)}
    if device == "cuda":
        sides["funasr fp16"] = ("funasr", "--precision", "fp16")
        runtime = "onnxruntime"
    else:
        sides["onnxruntime"] = ("onnxruntime",)
        runtime = "openvino"
    return sides | {name: (runtime, "--precision", name) for name in precisions}


def measure(
    work: str, clips: list[int], sides: dict[str, Side], matrix: Side, rounds: int
) -> dict[str, Any]:
    """Measures one piece of work on every side, in turns."""
    flop = sides["funasr"].ask(clips=clips, count=True)["flop"]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rates: list[dict[str, float]] = []
    last: dict[str, dict[str, Any]] = {}
    for number in range(SETTLE + rounds):
        print(f"bench-encoder: {work}, round {number + 1} of {SETTLE + rounds}", flush=True)
        # Discard the first rounds: new lengths are slow at first on every side.
        settled = number >= SETTLE
        if settled:
            rates.append(matrix.ask())
        for name, side in sides.items():
            last[name] = side.ask(clips=clips)
            if settled:
                seconds[name].append(last[name]["seconds"])
    rate = {name: statistics.median(each[name] for each in rates) for name in rates[0]}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    truth = last["funasr"]["embeddings"]
    return {
        "audio_seconds": sum(clips) / RATE,
        "flop": flop,
        "matrix_rate": rate,
        "sides": {
            name: {
                "seconds": seconds[name],
                "median": medians[name],
                "faster_than_funasr": medians["funasr"] / medians[name],
                # On a CPU, PyTorch has no fast fp16: compare fp16 with the rate of bf16.
                "share_of_matrix_rate": {
                    kind: flop / medians[name] / each for kind, each in rate.items()
                },
                "relative_error": relative_error(last[name]["embeddings"], truth),
                # The peak covers all work since the start, so shorter work runs first.
                "peak_megabytes": last[name]["peak_megabytes"],
            }
            for name in sides
        },
    }


def relative_error(answers: list[list[float]], truths: list[list[float]]) -> float:
    """The largest relative error (L2) of any clip's embedding."""
    return max(
        math.dist(answer, truth) / math.hypot(*truth)
        for answer, truth in zip(answers, truths, strict=True)
    )


def table(works: dict[str, Any]) -> str:
    """The result as text, one line for each piece of work and side."""
    lines = [
        f"{'work':8} {'side':12} {'median':>11} {'audio s/s':>10} {'x FunASR':>9} {'of fp32':>8} "
        f"{'of bf16':>8} {'rel. error':>10} {'peak MB':>8}"
    ]
    for work, measured in works.items():
        for name, side in measured["sides"].items():
            share = side["share_of_matrix_rate"]
            bf16 = f"{share['bf16']:.0%}" if "bf16" in share else "–"
            lines.append(
                f"{work:8} {name:12} {side['median'] * 1000:8.1f} ms "
                f"{measured['audio_seconds'] / side['median']:10.1f} "
                f"{side['faster_than_funasr']:9.2f} {share['fp32']:8.0%} {bf16:>8} "
                f"{side['relative_error']:10.1e} {side['peak_megabytes']:8.0f}"
            )
        rate = measured["matrix_rate"]
        text = ", ".join(f"{kind} {each / 1e9:.0f}" for kind, each in rate.items())
        lines.append(
            f"         (matrix rate {text} GFLOP/s; the work is {measured['flop'] / 1e9:.0f} GFLOP)"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """The machine on which the figures were measured."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(line.partition(":")[::2] for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    wanted = ("amx_fp16", "amx_bf16", "avx512_bf16", "avx512_fp16", "avx512f", "avx2")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": facts.get("model name", platform.machine()),
        "cores": sum(line.startswith("processor") for line in lines),
        "instructions": [flag for flag in wanted if flag in facts.get("flags", "").split()],
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    try:
        main()
    except ExportError as error:
        sys.exit(f"bench-encoder: {error}")
