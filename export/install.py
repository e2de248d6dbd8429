"""Installs a verified graph in the model repository, all of it or nothing."""

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

from export.config import ENCODER, encoder_config
from export.contract import LABELS
from export.errors import ExportError

RENAME_EXCHANGE = 2
AT_FDCWD = -100


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """Makes a folder beside the repository to build the encoder in, and removes it afterwards.

    Raises:
        ExportError: The repository is missing, or another export is running.
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
        # An export that was killed may have left it behind.
        shutil.rmtree(stage, ignore_errors=True)
        (stage / "1").mkdir(parents=True)
        try:
            yield stage
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


def write_model_files(stage: Path, card: dict[str, Any]) -> None:
    """Writes config.pbtxt, labels.txt and model_card.json."""
    (stage / "config.pbtxt").write_text(encoder_config(card), encoding="utf-8")
    (stage / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    (stage / "model_card.json").write_text(
        json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def install(stage: Path, repository: Path) -> None:
    """Puts the staged encoder in place in one atomic step.

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
