"""Results: predictions, outcomes and the model card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from emotion2vec_client._decision import UNDECIDED, Decision, Decisions
from emotion2vec_client.labels import LABELS, Label

FloatArray = npt.NDArray[np.float32]
Granularity = Literal["utterance", "frame"]

FRAME_HOP = 0.02
"""Seconds between the starts of two frames; each frame sees 25 ms."""


@dataclass(frozen=True)
class ModelInfo:
    """The model that a server runs.

    Attributes:
        checkpoint: Where its weights come from.
        revision: Revision of the checkpoint, None for folders and random weights.
        weights: ``pretrained``; ``demonstration`` for this project's small model; or ``random``:
            then the scores mean nothing.
        published: Whether the weights are byte for byte the published emotion2vec_plus_large; None
            if the export could not tell.
        license: Name of the weights' licence and a link to it, None if unknown.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        target: Hardware that the model was exported for.
        labels: Names of the emotions, in the order of the scores.
        card: The server's whole model card.
        uar: Unweighted average recall on speakers that the model never heard, 0 to 1; None if the
            card does not say, as for the published checkpoints.
    """

    checkpoint: str
    revision: str | None
    weights: str
    published: bool | None
    license: tuple[str, str] | None
    precision: str
    target: str
    labels: tuple[str, ...]
    card: dict[str, Any] = field(repr=False, hash=False)
    uar: float | None = None


@dataclass(frozen=True, eq=False)
class Frames:
    """Emotion over time, one row per 20 ms.

    Attributes:
        times: Start of each frame in seconds, float64 [T].
        scores: float32 [T, 9], read-only, in the order of ``LABELS``.
        embedding: float32 [T, D], read-only, or None if not requested.
    """

    times: npt.NDArray[np.float64]
    scores: FloatArray
    embedding: FloatArray | None


class Scored:
    """Anything with nine scores by name; the strongest one is its emotion."""

    scores: Mapping[str, float]
    decisions: Decisions

    @property
    def label(self) -> Label:
        """The strongest emotion, with its Chinese name and emoji."""
        return max(LABELS, key=lambda label: self.scores[label.name])

    @property
    def emotion(self) -> str:
        """Name of the strongest emotion."""
        return self.label.name

    @property
    def confidence(self) -> float:
        """Score of the strongest emotion, 0 to 1."""
        return self.scores[self.emotion]

    @property
    def policy(self) -> Decision | None:
        """What the client's policy answers, None without a policy."""
        return self.decisions.policy

    @property
    def heads(self) -> Mapping[str, Decision]:
        """What the client's heads answer, by name."""
        return self.decisions.heads


@dataclass(frozen=True, eq=False)
class Prediction(Scored):
    """The emotion of one clip.

    Attributes:
        scores: Probability of each emotion by name; nine that sum to 1.
        granularity: ``utterance`` or ``frame``.
        duration: Length of the clip in seconds.
        weights: ``pretrained``, ``demonstration`` or ``random``, as in `ModelInfo`.
        embedding: float32 [D] (1024 for the large model, 768 for base), read-only, or None if not
            requested.
        frames: Emotion over time, or None in utterance granularity.
        timestamp: When the response came, local time with its zone.
        decisions: Of the client's policy and heads.
    """

    scores: Mapping[str, float]
    granularity: Granularity
    duration: float
    weights: str
    embedding: FloatArray | None
    frames: Frames | None
    timestamp: datetime
    decisions: Decisions = UNDECIDED

    def __repr__(self) -> str:
        return (
            f"Prediction(emotion={self.emotion!r}, confidence={self.confidence:.3f}, "
            f"granularity={self.granularity!r}, weights={self.weights!r})"
        )

    @property
    def file_embedding(self) -> FloatArray | None:
        """The array in embedding.npy: float32 [D], or [T, D] in frame granularity, or None."""
        return self.embedding if self.frames is None else self.frames.embedding

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types, without the embeddings.

        Returns:
            ``emotion``, ``confidence``, ``scores``, ``granularity`` and ``timestamp``, whose names
            never change; then ``duration`` in seconds, ``weights``, ``policy`` and ``heads`` if the
            client has them, and in frame granularity ``frame_hop`` in seconds and
            ``frame_scores``, T numbers per emotion.
        """
        result: dict[str, Any] = {
            "emotion": self.emotion,
            "confidence": self.confidence,
            "scores": dict(self.scores),
            "granularity": self.granularity,
            "timestamp": self.timestamp.strftime("%Y-%m-%d %H:%M:%S"),
            "duration": self.duration,
            "weights": self.weights,
            **self.decisions.to_dict(),
        }
        if self.frames is not None:
            columns = self.frames.scores.T.tolist()
            result["frame_hop"] = FRAME_HOP
            result["frame_scores"] = {label.name: column for label, column in zip(LABELS, columns)}
        return result

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes result.json, and embedding.npy if there is an embedding.

        Args:
            folder: Created if it is missing. embedding.npy is float32 [D], or [T, D] in frame
                granularity.

        Raises:
            OSError: The files cannot be written.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2)
        (target / "result.json").write_text(text + "\n", encoding="utf-8")
        if self.file_embedding is not None:
            np.save(target / "embedding.npy", self.file_embedding)


Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Item]):
    """The result for one item of `predict_many`: a prediction or an error.

    Attributes:
        item: The item, unchanged.
        prediction: The prediction, None if there is an error.
        error: An `Emotion2VecError`, or an OSError, TypeError or ValueError if the item could not
            be read; None if there is a prediction.
    """

    item: Item
    prediction: Prediction | None
    error: Exception | None

    def unwrap(self) -> Prediction:
        """Returns the prediction, or raises the error."""
        if self.prediction is None:
            raise self.error or ValueError(f"there is neither result nor error for {self.item!r}")
        return self.prediction


def read_only_scores(row: FloatArray) -> Mapping[str, float]:
    """A row of scores, float32 [9], as a read-only mapping by name."""
    return MappingProxyType({label.name: float(value) for label, value in zip(LABELS, row)})
