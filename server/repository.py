"""The model repository as Triton gets it: with as many decoders as the machine needs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from server.errors import ServerError

PREPROCESS = "preprocess"
FOR_A_CPU = 2
"""With the encoder on the same CPU, more decoders would only take its time."""

SPARED = 2
"""Cores for Triton, the gateway and the rest, if the others decode for a GPU."""

INSTANCES = re.compile(r"instance_group \[ \{ count: (\d+) kind: KIND_CPU \} \]")


def decoders(repository: Path, cores: int | None = None) -> int:
    """How many processes should decode clips.

    Args:
        repository: The folder of models.
        cores: Number of cores that may be used; by default, those of this process.
    """
    cores = cores or len(os.sched_getaffinity(0))
    encoder = (repository / "encoder" / "config.pbtxt").read_text(encoding="utf-8")
    return max(FOR_A_CPU, cores - SPARED) if "kind: KIND_GPU" in encoder else FOR_A_CPU


def with_decoders(repository: Path, count: int, folder: Path) -> Path:
    """A repository of the same models, whose preprocess has ``count`` instances.

    Args:
        repository: The folder of models; not changed.
        count: Number of instances.
        folder: An empty folder, for links to the models if another configuration is needed.

    Returns:
        ``repository`` itself if its preprocess already has ``count`` instances, or is missing:
        Triton then says so.

    Raises:
        ServerError: The configuration of preprocess does not say how many instances it has.
    """
    source = (repository / PREPROCESS).resolve()
    if not (source / "config.pbtxt").is_file():
        return repository
    config = (source / "config.pbtxt").read_text(encoding="utf-8")
    found = INSTANCES.search(config)
    if found is None:
        raise ServerError(
            f"{source / 'config.pbtxt'} has no instance_group in the form of this project: "
            "restore it with git"
        )
    if int(found[1]) == count:
        return repository
    for path in repository.iterdir():
        if path.name != PREPROCESS:
            (folder / path.name).symlink_to(path.resolve())
    own = folder / PREPROCESS
    own.mkdir()
    for path in source.iterdir():
        if path.name != "config.pbtxt":
            (own / path.name).symlink_to(path)
    text = config[: found.start(1)] + str(count) + config[found.end(1) :]
    (own / "config.pbtxt").write_text(text, encoding="utf-8")
    return folder
