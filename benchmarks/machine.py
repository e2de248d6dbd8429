"""Describes the machine and the software of a measurement."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.launch import ROOT, LaunchError
from benchmarks.target import Target
from emotion2vec_client import Client

MATRIX_FLAGS = ("amx_bf16", "amx_fp16", "amx_int8", "avx512_bf16", "avx512f", "avx2")
PACKAGES = ("locust", "tritonclient", "grpcio", "gevent")


def describe(target: Target) -> Mapping[str, str]:
    """Hardware, versions and model, as text.

    Raises:
        LaunchError: The service runs the demonstration model.
    """
    with Client(target.hosts["gRPC"]) as client:
        info = client.model_info()
    if info.weights == "demonstration":
        raise LaunchError(
            "the service runs the small demonstration model, whose speed says nothing about "
            'emotion2vec\'s: run `make export ARGS="--checkpoint random"` first, or export a '
            "checkpoint of full size"
        )
    tools = {name: f"{name} {text}" for name, text in info.card.get("tools", {}).items()}
    return {
        "processor": f"{_processor()}; {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "model": f"{info.checkpoint}, {info.weights} weights, {info.precision}, for {info.target}",
        "exported with": ", ".join(tools.values()) or "unknown",
        "Triton": target.statistics.version(),
        "load generator": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "commit": _commit(),
    }


def _processor() -> str:
    fields: dict[str, str] = {}
    # All cores are alike: keep the fields of the first.
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = set(fields.get("flags", "").split())
    matrix = ", ".join(flag for flag in MATRIX_FLAGS if flag in flags)
    return f"{fields.get('model name', platform.machine())} ({matrix or 'no wide vectors'})"


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "not from a git checkout"


class Usage:
    """Measures who uses this machine's CPU time, from the creation of the object."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = self._read()

    def _read(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + times.iowait
        # user already contains guest.
        everything = sum(times) - times.guest - times.guest_nice
        own = psutil.Process().cpu_times()
        ours = self._target.cpu_seconds() + own.user + own.system
        return everything, idle, ours

    def by_others(self) -> float:
        """Share of all CPU time that was neither idle nor used by the service or this process."""
        everything, idle, ours = (
            after - before for after, before in zip(self._read(), self._before, strict=True)
        )
        return max(0.0, (everything - idle - ours) / everything)
