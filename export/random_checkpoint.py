"""Seeded random weights in emotion2vec+'s architecture: for trying the service, and for tests.

Their scores mean nothing, and every result says so. They are drawn so that different clips get
clearly different scores, or comparing two runtimes on them would prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from funasr.models.emotion2vec.model import Emotion2vec

from export.checkpoint import Checkpoint
from export.errors import ExportError

SEED = 21
HEAD_SCALE = 2.0

TOKENS = [
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
]


@dataclass(frozen=True)
class Size:
    """The numbers that tell one emotion2vec+ model from another."""

    embed_dim: int
    heads: int
    prenet_depth: int = 4
    depth: int = 8
    mlp_ratio: float = 4.0
    frontend_channels: int = 512


SIZES = {"large": Size(1024, 16), "base": Size(768, 12), "seed": Size(768, 12)}


def random_checkpoint(size: str) -> Checkpoint:
    """A checkpoint of full size with weights that mean nothing.

    Args:
        size: One of ``SIZES``.

    Raises:
        ExportError: The size is unknown.
    """
    if size not in SIZES:
        raise ExportError(f"unknown size random:{size}: take one of {', '.join(SIZES)}")
    model_conf = make_model_conf(SIZES[size])
    return Checkpoint(
        source=f"random:{size}",
        revision=None,
        weights="random",
        sha256=None,
        model_conf=model_conf,
        tokens=TOKENS,
        state=draw_state(model_conf),
        report=[f"weights drawn at random (seed {SEED}): the scores will mean nothing"],
    )


def draw_state(model_conf: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Seeded tensors for the model that ``model_conf`` describes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Emotion2vec(model_conf=model_conf, vocab_size=len(TOKENS))
        scale = model.modality_encoders["AUDIO"].alibi_scale
        with torch.no_grad():
            # Some heads with a negative scale, which upstream clamps to zero.
            scale.copy_(torch.randn(scale.shape) + 0.5)
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0, 0.02)
            # PyTorch's own draw of the head would give every clip nearly the same scores.
            model.proj.weight.normal_(0, HEAD_SCALE * model.proj.in_features**-0.5)
    return model.state_dict()


def make_model_conf(size: Size) -> dict[str, Any]:
    """The ``model_conf`` of emotion2vec_plus_large's config.yaml, in another size.

    What only training reads is there because FunASR's constructor asks for it.
    """
    channels = size.frontend_channels
    audio = {
        "type": "AUDIO",
        "prenet_depth": size.prenet_depth,
        "prenet_layerdrop": 0.05,
        "prenet_dropout": 0.1,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_extra_tokens": 10,
        "init_extra_token_zero": True,
        "mask_noise_std": 0.01,
        "mask_prob_min": None,
        "mask_prob": 0.5,
        "inverse_mask": False,
        "mask_prob_adjust": 0.05,
        "keep_masked_pct": 0.0,
        "mask_length": 5,
        "add_masks": False,
        "remove_masks": False,
        "mask_dropout": 0.0,
        "encoder_zero_mask": True,
        "mask_channel_prob": 0.0,
        "mask_channel_length": 64,
        "ema_local_encoder": False,
        "local_grad_mult": 1.0,
        "use_alibi_encoder": True,
        "alibi_scale": 1.0,
        "learned_alibi": False,
        "alibi_max_pos": None,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": size.heads,
        "model_depth": size.depth,
        "decoder": None,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": (
            f"[({channels}, 10, 5)] + [({channels}, 3, 2)] * 4 + [({channels}, 2, 2)] * 2"
        ),
        "conv_pos_width": 95,
        "conv_pos_groups": 16,
        "conv_pos_depth": 5,
        "conv_pos_pre_ln": False,
    }
    return {
        "loss_beta": 0.0,
        "loss_scale": None,
        "depth": size.depth,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_heads": size.heads,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "encoder_dropout": 0.1,
        "post_mlp_drop": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "dropout_input": 0.0,
        "layerdrop": 0.05,
        "embed_dim": size.embed_dim,
        "mlp_ratio": size.mlp_ratio,
        "layer_norm_first": False,
        "average_top_k_layers": size.depth,
        "end_of_block_targets": False,
        "clone_batch": 8,
        "normalize": True,
        "modalities": {"audio": audio},
    }
