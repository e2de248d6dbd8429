"""The published emotion2vec+ checkpoints: their names, revisions, files and licence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from export.progress import step

FILES = ("config.yaml", "tokens.txt", "model.pt")
"""The files of a checkpoint folder."""

TOKENS = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
)
TOKENS_TEXT = "\n".join(TOKENS)
"""The published tokens.txt: 119 bytes, without a line end after the last token."""

LICENSE = {"name": "model-license", "link": "https://github.com/alibaba-damo-academy/FunASR"}
"""As the model cards of the published checkpoints state it, under ``license: other``."""

BLOCK = 1 << 22


@dataclass(frozen=True)
class FileFacts:
    """What identifies a file.

    Attributes:
        size: In bytes.
        sha256: Hexadecimal digest; None if only the size is known.
    """

    size: int
    sha256: str | None

    def differs(self, name: str, other: FileFacts) -> str | None:
        """One clause on how this file differs from the one that ``other`` describes, or None.

        Ignores a digest that only one side knows.
        """
        if self.size != other.size:
            return f"{name} has {self.size:,} bytes instead of {other.size:,}"
        if self.sha256 and other.sha256 and self.sha256 != other.sha256:
            return f"{name} has sha256 {self.sha256} instead of {other.sha256}"
        return None


@dataclass(frozen=True)
class Published:
    """One published checkpoint.

    Attributes:
        names: Its name on each hub.
        revisions: The pinned revision on each hub; without one, the newest is used.
        files: What is known about the files at those revisions.
    """

    names: Mapping[str, str]
    revisions: Mapping[str, str]
    files: Mapping[str, FileFacts]


def _published(
    size: str, revisions: Mapping[str, str], files: Mapping[str, FileFacts]
) -> Published:
    name = f"emotion2vec_plus_{size}"
    names = {"modelscope": f"iic/{name}", "huggingface": f"emotion2vec/{name}"}
    return Published(names, revisions, files)


LARGE = _published(
    "large",
    {
        "modelscope": "767b2e00f04e0b75b5408c73be0d666328808af5",
        "huggingface": "6c303ba987b86b93193de93e34bb2b077a6bedc4",
    },
    {
        "model.pt": FileFacts(
            1_945_790_254, "be501a01f26fcdc7663a062dff86af839afbaef7c4de32f5e42d7e1ad2784da4"
        ),
        "config.yaml": FileFacts(5_552, None),
        "tokens.txt": FileFacts(119, hashlib.sha256(TOKENS_TEXT.encode()).hexdigest()),
    },
)
CHECKPOINTS = (LARGE, _published("base", {}, {}), _published("seed", {}, {}))


def of_name(name: str) -> Published | None:
    """The published checkpoint with this name on a hub, or None if it is not one."""
    return next((each for each in CHECKPOINTS if name in each.names.values()), None)


def pinned(name: str, hub: str) -> str | None:
    """The pinned revision of a checkpoint on a hub, or None for the newest."""
    checkpoint = of_name(name)
    return checkpoint.revisions.get(hub) if checkpoint else None


def measure(path: Path) -> FileFacts:
    """Reads a whole file and returns its size and digest.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
        return FileFacts(file.tell(), digest.hexdigest())


def measure_folder(folder: Path) -> dict[str, FileFacts]:
    """Size and digest of each file of a checkpoint folder.

    Raises:
        ExportError: A file cannot be read.
    """
    with step("computing the SHA-256 of the checkpoint's files"):
        try:
            return {name: measure(folder / name) for name in FILES}
        except OSError as error:
            raise ExportError(f"cannot read {error.filename}: {error.strerror}") from error


def differences(files: Mapping[str, FileFacts], known: Mapping[str, FileFacts]) -> list[str]:
    """How files differ from the known ones; one clause each."""
    clauses = (files[name].differs(name, facts) for name, facts in known.items() if name in files)
    return [clause for clause in clauses if clause]
