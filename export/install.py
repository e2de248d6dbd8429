"""Puts a verified graph into the model repository, all of it or nothing."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from export import contract
from export.contract import EXTRA_SLOTS, LABELS, LONGEST, SAMPLE_RATE, SLOT, Tensor
from export.errors import ExportError
from export.layout import frame_count

ENCODER = "encoder"
MODEL_FILE = "model.onnx"
# On a CPU batching gains little, and eight clips of 30 s took 8.4 GB.
MAX_BATCH_SIZE = 4
WARMUP_SECONDS = (3, 10)
RENAME_EXCHANGE = 2
AT_FDCWD = -100


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder beside the repository in which the encoder is built, gone afterwards.

    Raises:
        ExportError: The repository is missing, or another export runs.
    """
    if not repository.is_dir():
        raise ExportError(f"the model repository {repository} does not exist")
    workplace = repository.resolve().parent / f".{repository.resolve().name}-export"
    workplace.mkdir(exist_ok=True)
    with open(workplace / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(f"another export into {repository} is running") from error
        stage = workplace / ENCODER
        # What an export that was killed left behind.
        shutil.rmtree(stage, ignore_errors=True)
        (stage / "1").mkdir(parents=True)
        try:
            yield stage
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


def write_model_files(stage: Path, embed_dim: int, card: dict[str, Any]) -> None:
    """Writes config.pbtxt, labels.txt, model_card.json and the warm-up data."""
    (stage / "config.pbtxt").write_text(encoder_config(embed_dim, card), encoding="utf-8")
    (stage / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    (stage / "model_card.json").write_text(
        json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (stage / "warmup").mkdir(exist_ok=True)
    for seconds in WARMUP_SECONDS:
        np.array([seconds * SAMPLE_RATE], np.int32).tofile(stage / "warmup" / f"{seconds}s")


def install(stage: Path, repository: Path) -> None:
    """Swaps the staged encoder in, in one step that a crash cannot halve.

    Raises:
        ExportError: The file system cannot exchange two folders.
    """
    for path in stage.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    target = repository / ENCODER
    if not target.exists():
        os.rename(stage, target)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    code = libc.renameat2(
        AT_FDCWD, os.fsencode(stage), AT_FDCWD, os.fsencode(target), RENAME_EXCHANGE
    )
    if code != 0:
        raise ExportError(
            f"cannot replace {target} in one step ({os.strerror(ctypes.get_errno())}): remove it "
            "by hand and export again"
        )


def encoder_config(embed_dim: int, card: dict[str, Any]) -> str:
    """The encoder's config.pbtxt, for Triton's onnxruntime backend.

    Args:
        embed_dim: Width of the embedding.
        card: The model card; travels in the configuration, where clients find it.
    """
    outputs = [_resolve(tensor, embed_dim) for tensor in contract.ENCODER_OUTPUTS]
    text = json.dumps(json.dumps(card, ensure_ascii=True, separators=(",", ":")))
    return f"""# Written by `python -m export`; the next export replaces it.
name: "{ENCODER}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH_SIZE}

input [
{_declare(contract.ENCODER_INPUTS)}
]
output [
{_declare(outputs)}
]

# Its shape tells the graph how long the longest clip of the batch is.
batch_input [
  {{
    kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE
    target_name: [ "{LONGEST}" ]
    data_type: TYPE_FP32
    source_input: [ "{contract.WAVEFORM.name}" ]
  }}
]
# Frames come out of the graph end to end; each request gets as many rows as it has frames.
batch_output [
{_scatter(outputs)}
]

dynamic_batching {{
  default_queue_policy {{
    max_queue_size: {contract.QUEUE_SIZE}
    timeout_action: REJECT
    default_timeout_microseconds: {contract.QUEUE_SECONDS * 1_000_000}
  }}
}}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
optimization {{
  execution_accelerators {{
    cpu_execution_accelerator [
      {{ name: "openvino" parameters {{ key: "precision" value: "{card["precision"]}" }} }}
    ]
  }}
}}

# The first lengths a runtime meets are slow, and no user shall pay for them.
model_warmup [
{_warmup()}
]

parameters {{ key: "model_card" value {{ string_value: {text} }} }}
"""


def _resolve(tensor: Tensor, embed_dim: int) -> Tensor:
    """Fills in the width that the contract leaves to the checkpoint: an embedding's last."""
    if tensor not in (contract.EMBEDDING, contract.FRAME_EMBEDDING):
        return tensor
    dims = (*tensor.dims[:-1], embed_dim)
    return Tensor(tensor.name, tensor.data_type, dims, tensor.ragged, tensor.scattered_by)


def _declare(tensors: tuple[Tensor, ...] | list[Tensor]) -> str:
    lines = []
    for tensor in tensors:
        dims = ", ".join(str(size) for size in tensor.dims)
        extra = " allow_ragged_batch: true" if tensor.ragged else ""
        if tensor == contract.SCORES:
            extra = ' label_filename: "labels.txt"'
        lines.append(
            f'  {{ name: "{tensor.name}" data_type: {tensor.data_type} dims: [ {dims} ]{extra} }}'
        )
    return ",\n".join(lines)


def _scatter(tensors: list[Tensor]) -> str:
    return ",\n".join(
        f'  {{ target_name: [ "{tensor.name}" ] kind: BATCH_SCATTER_WITH_INPUT_SHAPE '
        f'source_input: [ "{tensor.scattered_by}" ] }}'
        for tensor in tensors
        if tensor.scattered_by
    )


def _warmup() -> str:
    samples = []
    for seconds in WARMUP_SECONDS:
        length = seconds * SAMPLE_RATE
        inputs = (
            (contract.WAVEFORM, length + EXTRA_SLOTS * SLOT, "random_data: true"),
            (contract.NUM_SAMPLES, 1, f'input_data_file: "{seconds}s"'),
            (contract.FRAMES, frame_count(length), "zero_data: true"),
        )
        lines = "\n".join(
            f'    inputs {{ key: "{tensor.name}" '
            f"value {{ data_type: {tensor.data_type} dims: [ {size} ] {source} }} }}"
            for tensor, size, source in inputs
        )
        samples.append(f'  {{\n    name: "{seconds} s" batch_size: 1\n{lines}\n  }}')
    return ",\n".join(samples)
