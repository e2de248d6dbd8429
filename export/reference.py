"""Runs FunASR itself, one clip at a time and unpadded, as the reference for the graph."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from export.checkpoint import Checkpoint
from export.emotion2vec import Emotion2vec


@dataclass(frozen=True)
class Answer:
    """The answer for one clip.

    Attributes:
        scores: float32 [9], in the order of ``contract.LABELS``.
        embedding: float32 [embed_dim].
        frame_scores: float32 [frames, 9]. FunASR has none: this applies its head to each frame.
        frame_embedding: float32 [frames, embed_dim].
    """

    scores: np.ndarray
    embedding: np.ndarray
    frame_scores: np.ndarray
    frame_embedding: np.ndarray


class Reference:
    """FunASR's ``Emotion2vec.inference`` with a checkpoint's weights, on the CPU or on CUDA."""

    def __init__(self, checkpoint: Checkpoint, model: Emotion2vec, device: str = "cpu"):
        self._model = model.to(device)
        self._device = device
        self._order = checkpoint.label_order()
        self._tokenizer = SimpleNamespace(token_list=checkpoint.tokens)

    def run(self, clip: np.ndarray) -> Answer:
        """Answers one clip, float32 [n] at 16 kHz."""
        with torch.inference_mode():
            results, _ = self._model.inference(
                [torch.from_numpy(clip)],
                key=["clip"],
                tokenizer=self._tokenizer,
                granularity="frame",
                extract_embedding=True,
                device=self._device,
            )
            frames = torch.from_numpy(results[0]["feats"])
            frame_logits = self._model.proj(frames.to(self._device))
            frame_scores = torch.softmax(frame_logits, dim=-1).cpu().numpy()
        scores = np.array(results[0]["scores"], np.float32)
        return Answer(
            scores=scores[self._order],
            embedding=frames.numpy().mean(axis=0),
            frame_scores=frame_scores[:, self._order],
            frame_embedding=frames.numpy(),
        )
