"""The model card: what the weights are, and how they were exported."""

from __future__ import annotations

import importlib.metadata
from datetime import UTC, datetime
from typing import Any

from export import demonstration, published
from export.checkpoint import Checkpoint
from export.contract import LABELS
from export.onnx import ENCODERS

TOOLS = (
    *("torch", "funasr", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "tensorrt", "numpy"),
)
"""Packages whose versions the card lists, if they are installed."""


def model_card(checkpoint: Checkpoint, target: str, precision: str) -> dict[str, Any]:
    """The card of an export, as plain JSON types."""
    is_published, differs = provenance(checkpoint)
    weights = checkpoint.files.get("model.pt")
    named = published.of_name(checkpoint.source) is not None
    license = published.LICENSE if is_published or named else None
    is_demonstration = checkpoint.weights == demonstration.NAME
    return {
        "checkpoint": checkpoint.source,
        "revision": checkpoint.revision,
        "published": is_published,
        "differs": differs,
        "license": demonstration.LICENSE if is_demonstration else license,
        "uar": demonstration.uar() if is_demonstration else None,
        "size": weights.size if weights else None,
        "sha256": weights.sha256 if weights else None,
        "weights": checkpoint.weights,
        "embed_dim": checkpoint.model_conf["embed_dim"],
        "labels": list(LABELS),
        "target": target,
        "precision": precision,
        "opset": ENCODERS[target].opset,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "tools": {
            package.name: package.version
            for package in importlib.metadata.distributions()
            if package.name in TOOLS
        },
    }


def provenance(checkpoint: Checkpoint) -> tuple[bool | None, list[str]]:
    """Says whether these are the published files and, if not, what differs.

    Returns:
        True for the published emotion2vec_plus_large, None for a published checkpoint whose
        digests this project does not know, and False for anything else; and one clause for each
        difference.
    """
    if checkpoint.weights == "random":
        return False, ["the weights are random"]
    if checkpoint.weights == demonstration.NAME:
        return False, ["this is the demonstration model of this project"]
    named = published.of_name(checkpoint.source)
    if named is not None and not named.files:
        return None, []
    differs = published.differences(checkpoint.files, published.LARGE.files)
    return not differs, differs


def describe(card: dict[str, Any]) -> list[str]:
    """Tells the user where the weights come from, and their licence."""
    lines = []
    if card["published"]:
        lines.append("these are the published weights: size and SHA-256 match")
    elif card["published"] is None:
        lines.append(f"the published digests of {card['checkpoint']} are not known to this project")
    elif card["weights"] == demonstration.NAME:
        lines.append(
            f"this is the demonstration model: mean recall {100 * card['uar']:.0f} % over seven "
            "emotions, on German actors it had not heard (chance: 14 %); see "
            "demo/checkpoint/README.md"
        )
    elif card["weights"] != "random":
        lines.append(
            "these are not the published weights of emotion2vec_plus_large: "
            + "; ".join(card["differs"])
        )
    if card["license"]:
        lines.append(
            f"licence of the weights: {card['license']['name']}, {card['license']['link']} "
            "(not the licence of this project)"
        )
    elif card["weights"] != "random":
        lines.append("licence of the weights: ask their authors")
    return lines
