"""The demonstration model: small, trained by `demo/`, and shipped with this project.

It serves where no model hub can be reached, so that a first try recognises emotions.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from export.checkpoint import Checkpoint, load_folder
from export.errors import ExportError

NAME = "demonstration"
FOLDER = Path(__file__).resolve().parents[1] / "demo" / "checkpoint"
LICENSE = {"name": "CC0-1.0", "link": "https://creativecommons.org/publicdomain/zero/1.0/"}


def load() -> Checkpoint:
    """The checkpoint.

    Raises:
        ExportError: A file of it is missing or was changed into something unusable.
    """
    return load_folder(FOLDER, source=NAME, weights=NAME)


def is_asked_for(name: str) -> bool:
    """Whether a value of ``--checkpoint`` means this model: its name, or its folder."""
    return name == NAME or Path(name).resolve() == FOLDER


def uar() -> float:
    """Unweighted average recall on speakers that it never heard, 0 to 1, as its model card says.

    Raises:
        ExportError: The card is missing, or does not say.
    """
    card = FOLDER / "README.md"
    try:
        front = card.read_text(encoding="utf-8").split("---\n")[1]
        [result] = yaml.safe_load(front)["model-index"][0]["results"]
        return float(next(each["value"] for each in result["metrics"] if each["type"] == "uar"))
    except (OSError, LookupError, TypeError, ValueError, StopIteration, yaml.YAMLError) as error:
        raise ExportError(
            f"{card} does not state the recall: restore it with `git checkout demo/checkpoint`"
        ) from error
