"""A checkpoint folder for downloads; it has no real weights."""

from __future__ import annotations

import os
from pathlib import Path

from export.published import CHECKPOINTS, FILES

TITLES = {"modelscope": "ModelScope", "huggingface": "Hugging Face"}
HUBS = list(TITLES)
_LARGE, BASE, SEED = (checkpoint.names for checkpoint in CHECKPOINTS)
MIB = 1 << 20


def written(folder: Path, tokens: str) -> Path:
    (folder / "config.yaml").write_text("model: Emotion2vec\n", "utf-8")
    (folder / "tokens.txt").write_text(tokens, "utf-8")
    # It is larger than one request of Hugging Face's library, and contains no zeros.
    (folder / "model.pt").write_bytes(os.urandom(12 * MIB))
    (folder / "README.md").write_text("not wanted\n", "utf-8")
    return folder


def same(folder: Path, other: Path) -> bool:
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in FILES)
