"""Measures the encoder on a GPU, and writes a report that others can read.

``make bench-gpu``, on the machine with the GPU (docs/gpu.md). It exports and verifies the graph in
each precision, times it beside FunASR, finds the memory that batches take, names the kernels that
ran, and puts loads on a Triton that serves it. With ``--device cpu`` it tries the script itself on
a CPU: without kernels, and with the peak memory of the process.

Each part runs in its own process, so that no part sees another's memory or thread pools.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format

from audio.layout import SAMPLE_RATE
from benchmarks import gpu_service
from benchmarks.encoder import BATCHES, ROOT, machine
from benchmarks.tables import table

WORKS: dict[str, list[float]] = {"10 s": [10], "30 s": [30], **BATCHES["cuda"]}
"""Lengths of the clips in seconds, for the graph alone."""
FULL = (1, 4, 8, 16, 32)
"""Clips of the greatest length in the batches whose memory is measured."""
SEEN = 12
"""Kernels in the report, the ones that take longest."""


def main(argv: list[str] | None = None) -> None:
    """Measures; prints and writes the report."""
    options = _parse(argv)
    if options.part:
        json.dump(PARTS[options.part](options), sys.stdout)
        return
    began = time.monotonic()
    lines = [f"# Encoder on {_gpu() if options.device == 'cuda' else 'a CPU'}", ""]
    lines += _about(options)
    with tempfile.TemporaryDirectory() as folder:
        for precision in options.precisions:
            repository = Path(folder) / precision
            ignored = ignore_patterns("encoder", "__pycache__")
            copytree(ROOT / "model_repository", repository, ignore=ignored)
            lines += ["", f"## {precision}", "", *_export(options, repository, precision)]
            if not (repository / "encoder").exists():
                continue
            for part in PARTS:
                lines += ["", *_reported(part, options, repository)]
    if options.rounds:
        lines += ["", "## Beside FunASR", "", *_beside_funasr(options)]
    lines += ["", f"It took {time.monotonic() - began:.0f} s."]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"bench-gpu: written to {options.output}")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(%(default)s)")
    parser.add_argument("--checkpoint", default="random:large", help="a folder, or random[:SIZE]")
    parser.add_argument(
        "--precisions", nargs="+", default=["fp16", "fp32"], help="(default: fp16 fp32)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="beside FunASR (%(default)s; 0: no)")
    default = ROOT / "benchmarks" / "results" / f"gpu-{datetime.now(UTC):%Y%m%d-%H%M%S}.md"
    parser.add_argument("--output", type=Path, default=default, help="the report")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--repository", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _about(options: argparse.Namespace) -> list[str]:
    import onnxruntime
    import torch

    facts = machine()
    lines = [
        f"{facts['date']}, checkpoint {options.checkpoint}",
        f"CPU: {facts['processor']}, {facts['cores']} cores ({', '.join(facts['instructions'])})",
        f"Python {facts['python']}, PyTorch {torch.__version__}, "
        f"ONNX Runtime {onnxruntime.__version__}",
    ]
    if options.device == "cuda":
        asked = "--query-gpu=driver_version,memory.total,power.limit"
        command = ["nvidia-smi", asked, "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        lines.append(f"Driver, memory, power limit: {told}; CUDA {torch.version.cuda}")
    return [f"- {line}" for line in lines]


def _export(options: argparse.Namespace, repository: Path, precision: str) -> list[str]:
    command = [sys.executable, "-m", "export", "--checkpoint", options.checkpoint, "--seed", "1"]
    command += ["--target", options.device, "--precision", precision]
    command += ["--model-repository", str(repository)]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    print(done.stdout + done.stderr, file=sys.stderr, flush=True)
    if done.returncode:
        told = (done.stdout + done.stderr).strip().splitlines()
        return [f"The export failed after {seconds:.0f} s: {told[-1]}"]
    card = json.loads((repository / "encoder" / "model_card.json").read_text(encoding="utf-8"))
    rows = card["verified"]["rows"]
    worst = {
        name: max(value for row in rows for value in row[key])
        for name, key in (
            ("scores", "scores"),
            ("frame scores", "frame_scores"),
            ("embeddings (relative)", "embedding"),
        )
    }
    largest = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    return [
        f"Exported and verified with {len(rows)} clips in {seconds:.0f} s. "
        f"Largest differences from FunASR: {largest}."
    ]


def _reported(part: str, options: argparse.Namespace, repository: Path) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, "--device", options.device]
    command += ["--repository", str(repository)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return [f"Measuring {part} failed: its output says why."]
    return REPORTS[part](json.loads(done.stdout))


def _session(options: argparse.Namespace) -> Any:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from server.backends.onnxruntime.runtime import open_session

    folder = options.repository / "encoder"
    config = text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), ModelConfig())
    settings = json_format.MessageToDict(config, preserving_proto_field_name=True)
    return open_session(folder / "1" / "model.onnx", settings)


def _inputs(seconds: list[float]) -> dict[str, np.ndarray]:
    from export.batch import pack
    from export.sides import noise

    return pack([noise(int(each * SAMPLE_RATE)) for each in seconds]).inputs()


def _times(options: argparse.Namespace) -> dict[str, Any]:
    session, result = _session(options), {}
    for name, seconds in WORKS.items():
        inputs, taken = _inputs(seconds), []
        for _ in range(12):
            began = time.perf_counter()
            session.run(inputs, ["embedding"])
            taken.append(time.perf_counter() - began)
        # A shape is slow the first time, and what it prepares may still show in the second.
        result[name] = {
            "first": taken[0],
            "median": statistics.median(taken[3:]),
            "audio": sum(seconds),
        }
    return result


def _memory(options: argparse.Namespace) -> dict[str, Any]:
    from export.contract import MAX_SECONDS

    before = _used(options.device)
    session = _session(options)
    result: dict[str, Any] = {"loaded": _used(options.device) - before, "batches": {}}
    lone: np.ndarray | None = None
    for clips in FULL:
        inputs = _inputs([float(MAX_SECONDS)] * clips)
        answer = session.run(inputs, ["embedding"])["embedding"]
        lone = answer[0] if lone is None else lone
        distance = np.linalg.norm(answer - lone, axis=1).max() / np.linalg.norm(lone)
        # NaN is no number in JSON.
        distance = float(distance) if np.isfinite(distance) else -1.0
        result["batches"][clips] = {
            "memory": _used(options.device) - before,
            "distance": distance,
        }
    return result


def _used(device: str) -> int:
    """MiB in use on the GPU, or by this process."""
    if device == "cpu":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) // 1024
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _kernels(options: argparse.Namespace) -> dict[str, Any]:
    from torch.profiler import ProfilerActivity, profile

    if options.device == "cpu":
        return {}
    # PyTorch records the kernels of all libraries in the process.
    session, result = _session(options), {}
    for name, seconds in WORKS.items():
        inputs = _inputs(seconds)
        for _ in range(3):
            session.run(inputs, ["embedding"])
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            session.run(inputs, ["embedding"])
        taken: Counter[str] = Counter()
        launches: Counter[str] = Counter()
        for event in recorded.events():
            if event.device_type.name == "CUDA":
                taken[event.name] += event.time_range.elapsed_us()
                launches[event.name] += 1
        result[name] = {
            "busy": sum(taken.values()) / 1e6,
            "launches": sum(launches.values()),
            "kernels": [
                (kernel, us / 1e6, launches[kernel]) for kernel, us in taken.most_common(SEEN)
            ],
        }
    return result


def _report_times(times: dict[str, Any]) -> list[str]:
    rows = [
        (
            name,
            f"{work['median'] * 1000:.2f} ms",
            f"{work['audio'] / work['median']:,.0f}",
            f"{work['first'] * 1000:.0f} ms",
        )
        for name, work in times.items()
    ]
    head = ("graph alone", "median of 9", "audio-seconds per second", "first time at this shape")
    return [table(head, rows)]


def _report_memory(memory: dict[str, Any]) -> list[str]:
    rows = [("loaded", f"{memory['loaded']:,} MiB", "")]
    for clips, batch in memory["batches"].items():
        distance = "NOT FINITE" if batch["distance"] < 0 else f"{batch['distance']:.1e}"
        rows.append((f"{clips} × 30 s", f"{batch['memory']:,} MiB", distance))
    return [table(("after", "memory in use", "embeddings differ from the lone clip's by"), rows)]


def _report_kernels(works: dict[str, Any]) -> list[str]:
    lines = []
    for name, work in works.items():
        fused = any("attention_kernel" in kernel.lower() for kernel, *_ in work["kernels"])
        lines += [
            "",
            f"{name}: the GPU is busy for {work['busy'] * 1000:.2f} ms with {work['launches']} "
            f"kernels and copies; attention is {'' if fused else 'NOT '}one kernel.",
            "",
            table(
                ("kernel", "time", "share", "launches"),
                [
                    (
                        f"`{kernel[:90]}`",
                        f"{seconds * 1000:.2f} ms",
                        f"{seconds / work['busy']:.0%}",
                        count,
                    )
                    for kernel, seconds, count in work["kernels"]
                ],
            ),
        ]
    return lines[1:]


def _beside_funasr(options: argparse.Namespace) -> list[str]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "benchmarks/encoder.py", "--device", options.device]
        command += ["--checkpoint", options.checkpoint, "--rounds", str(options.rounds)]
        command += ["--output", file.name]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            return ["The comparison failed: its output says why."]
    # Its table, without the lines about its progress.
    told = [line for line in done.stdout.splitlines() if not line.startswith("bench-encoder:")]
    return ["```", *told, "```"]


def _service(options: argparse.Namespace) -> dict[str, Any]:
    # A CPU would not answer more clients in time.
    return gpu_service.measure(options.repository, 4 if options.device == "cpu" else 128)


PARTS = {"times": _times, "memory": _memory, "kernels": _kernels, "service": _service}
REPORTS = {
    "times": _report_times,
    "memory": _report_memory,
    "kernels": _report_kernels,
    "service": gpu_service.report,
}

if __name__ == "__main__":
    main()
