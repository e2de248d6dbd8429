"""A small classifier of embeddings for your own labels; needs only NumPy."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.analysis.arrays import DoubleArray, as_matrix
from emotion2vec_client.analysis.errors import AnalysisError

FORMAT = "emotion2vec-head"
VERSION = 1


@dataclass(frozen=True)
class Origin:
    """The model whose embeddings a head was fitted on.

    Attributes:
        checkpoint: Where the model's weights came from.
        sha256: Digest of the weights, None for random weights.
        weights: ``pretrained``, ``demonstration`` or ``random``: then embeddings mean nothing.
    """

    checkpoint: str
    sha256: str | None
    weights: str

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Origin:
        """Reads ``client.model_info().card``.

        Raises:
            AnalysisError: The card lacks the checkpoint or its weights.
        """
        try:
            return cls(str(card["checkpoint"]), card.get("sha256"), str(card["weights"]))
        except KeyError as error:
            raise AnalysisError(
                f"the model card has no {error}: export the model again with 'make export'"
            ) from error

    def same_model(self, other: Origin) -> bool:
        """Whether both have the same weights; random weights are compared by name."""
        if self.sha256 is None and other.sha256 is None:
            return self.checkpoint == other.checkpoint
        return self.sha256 == other.sha256

    def __str__(self) -> str:
        digest = "no sha256" if self.sha256 is None else f"sha256 {self.sha256[:12]}…"
        return f"{self.checkpoint} ({digest})"


@dataclass(frozen=True, eq=False)
class Head:
    """Standardisation and a linear layer with softmax.

    Attributes:
        labels: The L labels, in the order of the probabilities.
        mean: Subtracted from the embedding, float64 [D].
        scale: Divides the difference, float64 [D].
        coefficients: float64 [L, D].
        intercept: float64 [L].
        origin: The model whose embeddings it was fitted on.
        validation: Figures of the cross-validation as plain JSON types; empty without one.

    Raises:
        AnalysisError: The shapes do not match, or a number is not finite.

    Example:
        >>> head = Head.load("stress.json")
        >>> head.check_card(client.model_info().card)
        >>> head.predict(embeddings).argmax(axis=1)
    """

    labels: tuple[str, ...]
    mean: DoubleArray
    scale: DoubleArray
    coefficients: DoubleArray
    intercept: DoubleArray
    origin: Origin
    validation: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        count, width = len(self.labels), len(self.mean)
        shapes = {
            "mean": (self.mean, (width,)),
            "scale": (self.scale, (width,)),
            "coefficients": (self.coefficients, (count, width)),
            "intercept": (self.intercept, (count,)),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise AnalysisError(
                    f"the head's {name} has shape {list(array.shape)}, but {count} labels and "
                    f"width {width} need {list(shape)}: fit the head again"
                )
            if not np.isfinite(array).all():
                raise AnalysisError(
                    f"the head's {name} has a number that is not finite: fit the head again"
                )
        if count < 2 or len(set(self.labels)) < count or not (self.scale > 0).all():
            raise AnalysisError(
                f"a head needs at least two different labels, and scales above 0, but has the "
                f"labels {', '.join(self.labels) or 'none'}: fit the head again"
            )

    @property
    def embed_dim(self) -> int:
        """Dimension D of the embeddings that the head takes."""
        return len(self.mean)

    def predict(
        self, embeddings: npt.ArrayLike, card: Mapping[str, Any] | None = None
    ) -> DoubleArray:
        """Probabilities of the labels.

        Args:
            embeddings: float32 [n, D].
            card: Card of the model that made the embeddings, for ``check_card``; None skips that.

        Returns:
            float64 [n, L]; each row sums to 1.

        Raises:
            AnalysisError: The embeddings have another dimension, or are from another model.
        """
        if card is not None:
            self.check_card(card)
        matrix = as_matrix(embeddings, 0)
        if matrix.shape[1] != self.embed_dim:
            raise AnalysisError(
                f"the embeddings are {matrix.shape[1]} wide, but the head takes {self.embed_dim}: "
                "use the model that the head was made with, or fit it again"
            )
        logits = (matrix - self.mean) / self.scale @ self.coefficients.T + self.intercept
        # Subtract the largest, so that exp() cannot overflow.
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)

    def check_card(self, card: Mapping[str, Any]) -> None:
        """Refuses a model whose embeddings this head cannot use.

        Args:
            card: ``client.model_info().card``.

        Raises:
            AnalysisError: The head was made with another checkpoint.
        """
        serving = Origin.of_card(card)
        if not self.origin.same_model(serving):
            raise AnalysisError(
                f"the head was made with {self.origin}, but the server runs {serving}: serve that "
                "checkpoint, or fit the head again with this one"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the head as JSON: numbers and names, but no code.

        Raises:
            OSError: The file cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "labels": list(self.labels),
            "embed_dim": self.embed_dim,
            "model": {
                "checkpoint": self.origin.checkpoint,
                "sha256": self.origin.sha256,
                "weights": self.origin.weights,
            },
            "validation": dict(self.validation),
            "intercept": self.intercept.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "coefficients": self.coefficients.tolist(),
        }
        # One line per entry keeps the figures readable beside arrays of a thousand numbers.
        lines = (
            f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
            for name, value in content.items()
        )
        Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Head:
        """Reads a head that ``save`` wrote.

        Raises:
            AnalysisError: The file is not such a head.
            OSError: The file cannot be read.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise AnalysisError(
                f"{path} is not JSON ({error}): give a file that 'head fit' wrote"
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise AnalysisError(f"{path} is not a head: give a file that 'head fit' wrote")
        if content.get("version") != VERSION:
            raise AnalysisError(
                f"{path} has version {content.get('version')!r} of the format, but this program "
                f"reads {VERSION}: fit the head again"
            )
        try:
            return cls(
                labels=tuple(map(str, content["labels"])),
                mean=_numbers(content["mean"]),
                scale=_numbers(content["scale"]),
                coefficients=_numbers(content["coefficients"]),
                intercept=_numbers(content["intercept"]),
                origin=Origin.of_card(content["model"]),
                validation=content["validation"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise AnalysisError(f"{path} is damaged ({error}): fit the head again") from error


def _numbers(values: Any) -> DoubleArray:
    return np.array(values, dtype=np.float64)
