"""Named checkpoints, from ModelScope or Hugging Face, through their own libraries and caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from export.errors import ExportError, HubUnreachableError

FILES = ["config.yaml", "tokens.txt", "model.pt"]
CONNECT_SECONDS = 5

PINNED = {
    ("modelscope", "iic/emotion2vec_plus_large"): "767b2e00f04e0b75b5408c73be0d666328808af5",
    ("huggingface", "emotion2vec/emotion2vec_plus_large"): (
        "6c303ba987b86b93193de93e34bb2b077a6bedc4"
    ),
}
"""Revisions known to hold the nine labels; other checkpoints are taken at their newest."""

DEFAULT_NAMES = dict(PINNED.keys())
"""Emotion2Vec+ Large, as each hub calls it."""


@dataclass(frozen=True)
class Download:
    """A checkpoint folder in the hub's own cache.

    Attributes:
        folder: Holds config.yaml, tokens.txt and model.pt.
        revision: The revision that was asked for, None for the newest.
    """

    folder: Path
    revision: str | None


@dataclass(frozen=True)
class _Hub:
    """What the two libraries have in common.

    Attributes:
        endpoint: Address of the hub, which the user's environment may have changed.
        snapshot: Their ``snapshot_download``.
        errors: What it raises.
    """

    endpoint: str
    snapshot: Callable[..., str]
    errors: tuple[type[Exception], ...]


def _modelscope() -> _Hub:
    from modelscope import snapshot_download
    from modelscope.hub.api import HubApi
    from modelscope_hub.errors import HubError

    return _Hub(HubApi().endpoint, snapshot_download, (HubError, OSError, ValueError))


def _huggingface() -> _Hub:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    return _Hub(constants.ENDPOINT, snapshot_download, (HfHubHTTPError, OSError, ValueError))


HUBS = {"modelscope": _modelscope, "huggingface": _huggingface}


def fetch(name: str, hub: str, revision: str | None) -> Download:
    """Downloads a checkpoint with a progress bar, or finds it in the cache.

    Args:
        name: The hub's name of it, for example ``iic/emotion2vec_plus_large``.
        hub: One of ``HUBS``.
        revision: Commit, tag or branch; None takes the pinned one, or the newest.

    Raises:
        HubUnreachableError: Not cached, and no connection within a few seconds.
        ExportError: The hub has no such checkpoint or revision.
    """
    revision = revision or PINNED.get((hub, name))
    library = HUBS[hub]()
    wanted = {"revision": revision, "allow_patterns": FILES}
    try:
        return Download(Path(library.snapshot(name, **wanted, local_files_only=True)), revision)
    except library.errors:
        print(f"export: {name} is not in the local cache, asking {hub} ...", flush=True)
    try:
        requests.head(library.endpoint, timeout=CONNECT_SECONDS)
    except requests.RequestException as error:
        raise HubUnreachableError(
            f"{hub} does not answer: check the network or its proxy variables, take the other hub "
            "with --hub, or give a local folder to --checkpoint"
        ) from error
    try:
        return Download(Path(library.snapshot(name, **wanted)), revision)
    except library.errors as error:
        raise ExportError(
            f"{hub} cannot give {name} at revision {revision or 'newest'}: {error}"
        ) from error
