"""Named checkpoints, from ModelScope or Hugging Face, through their own libraries and caches."""

from __future__ import annotations

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

DEFAULT_NAMES = {hub: name for hub, name in PINNED}
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


def fetch(name: str, hub: str, revision: str | None) -> Download:
    """Downloads a checkpoint with a progress bar, or finds it in the cache.

    Args:
        name: The hub's name of it, for example ``iic/emotion2vec_plus_large``.
        hub: ``modelscope`` or ``huggingface``.
        revision: Commit, tag or branch; None takes the pinned one, or the newest.

    Raises:
        HubUnreachableError: Not cached, and no connection within a few seconds.
        ExportError: The hub has no such checkpoint or revision.
    """
    revision = revision or PINNED.get((hub, name))
    if hub == "modelscope":
        from modelscope import snapshot_download
        from modelscope.hub.api import HubApi

        endpoint = HubApi().endpoint

        def snapshot(local: bool) -> str:
            return snapshot_download(
                name, revision=revision, allow_patterns=FILES, local_files_only=local
            )
    else:
        from huggingface_hub import constants, snapshot_download

        endpoint = constants.ENDPOINT

        def snapshot(local: bool) -> str:
            return snapshot_download(
                name, revision=revision, allow_patterns=FILES, local_files_only=local
            )

    try:
        return Download(Path(snapshot(local=True)), revision)
    except Exception as error:  # each hub's library has its own error for "not in the cache"
        print(f"export: {name} is not in the local cache ({type(error).__name__}), asking {hub}")
    try:
        requests.head(endpoint, timeout=CONNECT_SECONDS)
    except requests.RequestException as error:
        raise HubUnreachableError(
            f"{hub} does not answer within {CONNECT_SECONDS} s: check the network or its proxy "
            "variables, take the other hub with --hub, or give a local folder to --checkpoint"
        ) from error
    try:
        return Download(Path(snapshot(local=False)), revision)
    except Exception as error:  # likewise for "no such model" and "no such revision"
        raise ExportError(
            f"{hub} cannot give {name} at revision {revision or 'newest'}: {error}"
        ) from error
