"""Makes checkpoints in the published form, with seeded random weights, in any size.

``random[:SIZE]`` is such a checkpoint in memory; tests and proofs write one to a folder::

    python -m export.replica FOLDER --size large

Their scores mean nothing, and every result of ``random`` says so. Yet different clips get clearly
different scores. Otherwise a comparison of two runtimes on them would prove nothing.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from export.checkpoint import Checkpoint, build_model, read_config
from export.errors import ExportError
from export.published import TOKENS, TOKENS_TEXT

SEED = 21
HEAD_SCALE = 2.0
CONFIG = Path(__file__).with_name("replica.yaml")

PREFIX = "d2v_model."
"""Prefix of every name in model.pt except those of the classification head."""


@dataclass(frozen=True)
class Size:
    """The numbers in which emotion2vec+ models differ."""

    embed_dim: int
    heads: int
    prenet_depth: int = 4
    depth: int = 8
    mlp_ratio: float = 4.0
    frontend_channels: int = 512
    decoder_dim: int = 384


SIZES = {
    "large": Size(1024, 16, decoder_dim=768),
    "base": Size(768, 12),
    "seed": Size(768, 12),
}


def random_checkpoint(size: str) -> Checkpoint:
    """Returns a full-size checkpoint with random weights.

    Args:
        size: One of ``SIZES``.

    Raises:
        ExportError: The size is unknown.
    """
    if size not in SIZES:
        raise ExportError(f"unknown size random:{size}: use one of {', '.join(SIZES)}")
    model_conf = read_config(config_text(config(SIZES[size])))["model_conf"]
    return Checkpoint(
        source=f"random:{size}",
        revision=None,
        weights="random",
        files={},
        model_conf=model_conf,
        tokens=list(TOKENS),
        state=draw_state(model_conf),
        report=[f"weights drawn at random (seed {SEED}): the scores will mean nothing"],
    )


def config(size: Size) -> dict[str, Any]:
    """Returns the config.yaml of a published checkpoint, in another size."""
    loaded: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    channels = size.frontend_channels
    model_conf = loaded["model_conf"]
    model_conf.update(
        depth=size.depth,
        num_heads=size.heads,
        embed_dim=size.embed_dim,
        mlp_ratio=size.mlp_ratio,
    )
    audio = model_conf["modalities"]["audio"]
    audio.update(
        prenet_depth=size.prenet_depth,
        num_alibi_heads=size.heads,
        model_depth=size.depth,
        feature_encoder_spec=audio["feature_encoder_spec"].replace("512", str(channels)),
    )
    audio["decoder"]["decoder_dim"] = size.decoder_dim
    return loaded


def config_text(loaded: dict[str, Any]) -> str:
    """Formats what `config` returns, changed or not, as the text of config.yaml."""
    return str(yaml.safe_dump(loaded, sort_keys=False, indent=4, width=200))


def draw_state(model_conf: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Draws seeded tensors for the model that ``model_conf`` describes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = build_model(model_conf, len(TOKENS))
        scale = model.modality_encoders["AUDIO"].alibi_scale
        with torch.no_grad():
            # Give some heads a negative scale, which upstream clamps to zero.
            scale.copy_(torch.randn(scale.shape) + 0.5)
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0, 0.02)
            # PyTorch's own initial head would give every clip nearly the same scores.
            model.proj.weight.normal_(0, HEAD_SCALE * model.proj.in_features**-0.5)
    return model.state_dict()


def stored_members(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Returns the content of model.pt: the tensors, and members that inference does not read.

    The published file is three times as large as its model, to 0.01 %: fairseq's trainer also
    writes Adam's two moments of each parameter. The names of its other members are unknown.
    """
    model = {
        (name if name.startswith("proj.") else PREFIX + name): tensor
        for name, tensor in state.items()
    }
    moments = {
        index: {"step": 1, "exp_avg": tensor * 1e-3, "exp_avg_sq": tensor.square() * 1e-6}
        for index, tensor in enumerate(model.values())
    }
    groups = [{"lr": 0.0, "betas": [0.9, 0.98], "eps": 1e-6, "params": list(moments)}]
    return {
        "args": None,
        "cfg": {"_name": None, "common": {"seed": 1}},
        "model": model,
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "num_updates": 1}],
        "task_state": {},
        "extra_state": {"epoch": 1},
        "last_optimizer_state": {"state": moments, "param_groups": groups},
    }


def write_folder(
    folder: Path,
    loaded: dict[str, Any],
    members: dict[str, Any],
    tokens: str = TOKENS_TEXT,
) -> None:
    """Writes a checkpoint folder in the form that the hubs have.

    Args:
        folder: Created if it is missing.
        loaded: For config.yaml, from `config`.
        members: For model.pt, from `stored_members`.
        tokens: For tokens.txt, written unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config_text(loaded), encoding="utf-8")
    (folder / "tokens.txt").write_bytes(tokens.encode())
    torch.save(members, folder / "model.pt")
    # ModelScope's libraries, including FunASR, read this file if it exists.
    paths = {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": {"token_list": "tokens.txt"},
    }
    about = {"framework": "pytorch", "task": "emotion-recognition", "file_path_metas": paths}
    (folder / "configuration.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def write_replica(folder: Path, size: Size) -> None:
    """Writes a checkpoint folder of any size in the published form, with random weights."""
    loaded = config(size)
    model_conf = read_config(config_text(loaded))["model_conf"]
    write_folder(folder, loaded, stored_members(draw_state(model_conf)))


CARD = """\
---
license: other
license_name: model-license
license_link: https://github.com/alibaba-damo-academy/FunASR
frameworks:
- Pytorch
tasks:
- emotion-recognition
---

A replica: the form of a published checkpoint, with random weights. Its scores mean nothing.
"""


def main() -> None:
    """Writes one folder."""
    parser = argparse.ArgumentParser(prog="python -m export.replica", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="large")
    options = parser.parse_args()
    write_replica(options.folder, SIZES[options.size])


if __name__ == "__main__":
    main()
