"""A row of output: what became of one file, as the formats write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client.labels import LABELS
from emotion2vec_client.result import Granularity, Prediction


@dataclass(frozen=True)
class HeadAnswer:
    """What a head says to one file.

    Attributes:
        label: Its strongest label.
        scores: All of its labels by name.
    """

    label: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
        file: Its name, as it was given or found.
        prediction: The answer, None for a failure.
        reason: Why there is none, in one sentence.
        error_type: Name of the error's class.
        head: What a head says, if one was asked.
    """

    file: str
    prediction: Prediction | None
    reason: str = ""
    error_type: str = ""
    head: HeadAnswer | None = None

    @property
    def printable_file(self) -> str:
        """The name in valid Unicode; on Linux a name may be any bytes."""
        return self.file.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Shape:
    """What rows hold, which all rows of a file have in common.

    Attributes:
        granularity: ``frame`` gives, where rows are flat, one row per frame.
        embedding: Whether embeddings are in.
        dimension: Numbers in an embedding.
        head_labels: Labels of the head, None without one.
    """

    granularity: Granularity = "utterance"
    embedding: bool = False
    dimension: int = 0
    head_labels: tuple[str, ...] | None = None

    def columns(self) -> list[str]:
        """Names of what a flat row holds; the embedding counts as one."""
        names = ["file"]
        names += ["time"] if self.granularity == "frame" else []
        names += ["emotion", "confidence", *(label.name for label in LABELS)]
        names += ["weights", "timestamp", "error"]
        if self.head_labels is not None:
            names += ["head_label", *(f"head_{label}" for label in self.head_labels)]
        return names + (["embedding"] if self.embedding else [])


def nested(row: Row, shape: Shape) -> dict[str, Any]:
    """A row as plain JSON types, the course of the emotion within it."""
    if row.prediction is None:
        return {"file": row.file, "error": row.reason, "error_type": row.error_type}
    result: dict[str, Any] = {"file": row.file, **row.prediction.to_dict()}
    if row.head is not None:
        result["head_label"] = row.head.label
        result["head_scores"] = dict(row.head.scores)
    if shape.embedding and row.prediction.embedding is not None:
        result["embedding"] = short(row.prediction.embedding)
        if row.prediction.frames is not None and row.prediction.frames.embedding is not None:
            result["frame_embedding"] = [short(each) for each in row.prediction.frames.embedding]
    return result


def flat(row: Row, shape: Shape) -> Iterator[dict[str, Any]]:
    """A row for tables: one, or in frame granularity one per frame; missing columns are empty."""
    if row.prediction is None:
        yield {"file": row.file, "error": row.reason}
        return
    prediction = row.prediction
    common: dict[str, Any] = {
        "file": row.file,
        "weights": prediction.weights,
        "timestamp": prediction.timestamp.replace(microsecond=0),
    }
    if row.head is not None:
        common["head_label"] = row.head.label
        common.update({f"head_{name}": score for name, score in row.head.scores.items()})
    frames = prediction.frames
    if frames is None:
        yield {
            **common,
            **_emotion(prediction.scores),
            **({"embedding": prediction.embedding} if shape.embedding else {}),
        }
        return
    for index, time in enumerate(frames.times.tolist()):
        scores = dict(zip((label.name for label in LABELS), frames.scores[index].tolist()))
        result = {**common, "time": round(time, 2), **_emotion(scores)}
        if shape.embedding and frames.embedding is not None:
            result["embedding"] = frames.embedding[index]
        yield result


def _emotion(scores: Mapping[str, float]) -> dict[str, Any]:
    best = max(scores, key=lambda name: scores[name])
    return {"emotion": best, "confidence": scores[best], **scores}


def short(vector: npt.NDArray[np.float32]) -> list[float]:
    """A float32 vector in as few digits as give the same numbers again."""
    return [float(f"{value:.9g}") for value in vector.tolist()]


def text_of(value: Any) -> Any:
    """A flat value as CSV writes it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return value
