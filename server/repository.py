"""The model repository as Triton gets it: with as many instances as the machine needs."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from server.errors import ServerError

PREPROCESS, ENCODER = "preprocess", "encoder"

FOR_A_CPU = 2
"""Decoders. With the encoder on the same CPU, more would only take its time."""

SPARED = 2
"""Cores for Triton, the gateway and the rest, if the others decode for a GPU."""

IN_PYTHON = 2
"""Instances of an encoder on a GPU with enough memory, if its backend runs in Python: one computes
while the other packs the next batch and sends the answers of the last."""

SMI_SECONDS = 10
"""How long the driver's tool may take; it hangs if a GPU does."""

INSTANCE_MIB = {"fp16": 7 * 1024, "fp32": 14 * 1024}
"""GPU memory of an instance under load, in MiB. In fp16, 6,471 were measured (docs/gpu.md)."""

EXPORTED_FOR_A_GPU = "instance_group [ { count: 1 kind: KIND_GPU } ]"

INSTANCES = re.compile(r"instance_group \[ \{ count: (\d+) kind: KIND_(?:CPU|GPU) \} \]")


def instances(
    repository: Path, decoders: int | None, *, in_python: bool, cores: int | None = None
) -> dict[str, int]:
    """How many instances of a model suit this machine, by the model's name.

    Args:
        repository: The folder of models.
        decoders: Number of processes that decode clips; None for what suits the machine.
        in_python: Whether the encoder's backend runs in Python, as outside NVIDIA's container.
        cores: Number of cores that may be used; by default, those of this process.

    Returns:
        Numbers for the models that have a configuration; Triton says what is missing. An encoder
        has none if its instances are not those that the export writes.
    """
    cores = cores or len(os.sched_getaffinity(0))
    on_a_gpu = "kind: KIND_GPU" in _config(repository, ENCODER)
    counts = {PREPROCESS: decoders or (max(FOR_A_CPU, cores - SPARED) if on_a_gpu else FOR_A_CPU)}
    if in_python and EXPORTED_FOR_A_GPU in _config(repository, ENCODER):
        needed = IN_PYTHON * INSTANCE_MIB.get(_precision(repository), math.inf)
        counts[ENCODER] = IN_PYTHON if _gpu_mib() >= needed else 1
    return {name: count for name, count in counts.items() if _config(repository, name)}


def with_instances(repository: Path, counts: Mapping[str, int], folder: Path) -> Path:
    """A repository of the same models with other numbers of instances.

    Args:
        repository: The folder of models; not changed.
        counts: Number of instances by model.
        folder: An empty folder, for links to the models if another configuration is needed.

    Returns:
        ``repository`` itself if its models already have these numbers.

    Raises:
        ServerError: A configuration does not say how many instances the model has.
    """
    changed = {name: _with_count(repository, name, count) for name, count in counts.items()}
    changed = {name: text for name, text in changed.items() if text != _config(repository, name)}
    if not changed:
        return repository
    for path in repository.iterdir():
        if path.name not in changed:
            (folder / path.name).symlink_to(path.resolve())
    for name, text in changed.items():
        own = folder / name
        own.mkdir()
        for path in (repository / name).resolve().iterdir():
            if path.name != "config.pbtxt":
                (own / path.name).symlink_to(path)
        (own / "config.pbtxt").write_text(text, encoding="utf-8")
    return folder


def _config(repository: Path, name: str) -> str:
    path = repository / name / "config.pbtxt"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _precision(repository: Path) -> str:
    card = repository / ENCODER / "model_card.json"
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["precision"])
    except (OSError, ValueError, KeyError):
        # Nobody else in this folder needs the card, and Triton serves without it.
        return "unknown"


def _gpu_mib() -> int:
    """Memory of the smallest GPU; 0 if the driver's tool cannot say."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=SMI_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return min((int(line) for line in told.splitlines() if line.strip().isdigit()), default=0)


def _with_count(repository: Path, name: str, count: int) -> str:
    config = _config(repository, name)
    found = INSTANCES.search(config)
    if found is None:
        raise ServerError(
            f"{repository / name / 'config.pbtxt'} has no instance_group in the form of this "
            "project: restore it with git"
        )
    return config[: found.start(1)] + str(count) + config[found.end(1) :]
