"""The demonstration model: emotion2vec's own architecture, with 2 million parameters."""

from __future__ import annotations

from typing import Any

import torch

from export.checkpoint import build_model, read_config
from export.emotion2vec import Emotion2vec
from export.published import TOKENS
from export.replica import Size, config, config_text

SIZE = Size(embed_dim=192, heads=6, prenet_depth=2, depth=2)
CHANNELS = "[(48,10,5),(64,3,2),(96,3,2),(128,3,2),(160,3,2),(192,2,2),(192,2,2)]"
"""The frontend: narrow where it is fast, wide where it is slow."""


def described() -> dict[str, Any]:
    """The content of config.yaml."""
    loaded = config(SIZE)
    audio = loaded["model_conf"]["modalities"]["audio"]
    audio["feature_encoder_spec"] = CHANNELS
    audio["decoder"] = None
    return loaded


def build(seed: int) -> Emotion2vec:
    """A model with initial weights."""
    torch.manual_seed(seed)
    return build_model(read_config(config_text(described()))["model_conf"], len(TOKENS))


class AboveFrontend(torch.nn.Module):
    """What FunASR's model computes after the frontend's convolutions.

    The convolutions take most of the time. They are trained first and then frozen, so that their
    output is computed only once for each recording.
    """

    def __init__(self, model: Emotion2vec) -> None:
        super().__init__()
        self.model = model

    def forward(self, frontend: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n, 9], for float32 [n, T, 192] from `frontend_output`."""
        return self.model.proj(self.embedding(frontend))

    def embedding(self, frontend: torch.Tensor) -> torch.Tensor:
        """The mean over the frames: float32 [n, 192]."""
        encoder = self.model.modality_encoders["AUDIO"]
        # Its first step turns the convolutions' output around, which `frontend_output` has done.
        features = encoder.project_features[1:](frontend)
        begun = encoder.contextualized_features(features, None, mask=False, remove_masked=False)
        x = begun["x"]
        for block in self.model.blocks:
            x, _ = block(x, padding_mask=None, alibi_bias=begun["alibi_bias"])
        return x[:, encoder.modality_cfg.num_extra_tokens :].mean(dim=1)


@torch.no_grad()
def frontend_output(model: Emotion2vec, waveforms: torch.Tensor) -> torch.Tensor:
    """The output of the frontend's convolutions.

    Args:
        model: The frontend may be trained or not.
        waveforms: float32 [n, samples] at 16 kHz.

    Returns:
        float16 [n, T, 192].
    """
    frontend = model.modality_encoders["AUDIO"].local_encoder
    parts = [frontend(normal(part)).transpose(1, 2).half() for part in torch.split(waveforms, 32)]
    return torch.cat(parts)


def normal(waveforms: torch.Tensor) -> torch.Tensor:
    """As FunASR normalises a clip."""
    return torch.nn.functional.layer_norm(waveforms, waveforms.shape[-1:])
