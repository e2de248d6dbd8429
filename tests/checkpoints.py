"""Tiny checkpoints in the published form. Importing this imports PyTorch and FunASR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from export import replica
from export.checkpoint import read_config
from export.published import TOKENS_TEXT
from export.replica import Size

TINY = Size(
    embed_dim=64,
    heads=4,
    prenet_depth=1,
    depth=2,
    mlp_ratio=2.0,
    frontend_channels=16,
    decoder_dim=32,
)

Change = Callable[[dict], None]


def unchanged(part: dict) -> None:
    """Changes nothing."""


def write(
    folder: Path,
    size: Size = TINY,
    tokens: str = TOKENS_TEXT,
    change_config: Change = unchanged,
    change_state: Change = unchanged,
    change_members: Change = unchanged,
) -> None:
    """Writes a checkpoint folder, after applying the given changes."""
    config = replica.config(size)
    read = read_config(replica.config_text(config))
    members = replica.stored_members(replica.draw_state(read["model_conf"]))
    change_config(config)
    change_state(members["model"])
    change_members(members)
    replica.write_folder(folder, config, members, tokens)
