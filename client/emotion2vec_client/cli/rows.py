"""Rows of output: the result of one file, nested for JSONL and flat for tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from emotion2vec_client._judges import columns as judged_columns
from emotion2vec_client._result import Granularity, Prediction
from emotion2vec_client._timeline import SCORES, Segmentation, Timeline, own_columns

LAST = ["timestamp", "error"]


Answer = Union[Prediction, Timeline]


@dataclass(frozen=True)
class Row:
    """The result of one file.

    Attributes:
        file: Name of the file, as it was given or found.
        answer: The server's result, None for a failure.
        reason: Why the file failed, in one sentence.
        error_type: Name of the error's class.
    """

    file: str
    answer: Answer | None
    reason: str = ""
    error_type: str = ""

    @property
    def printable_file(self) -> str:
        """The name as valid Unicode; on Linux, a name may be any bytes."""
        return self.file.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Shape(ABC):
    """The columns that all rows of an output file have in common.

    Attributes:
        embedding: Whether rows have embeddings.
        dimension: Numbers in an embedding.
        judged: The labels of the policy and of each head, as `Judges.labels`.
    """

    embedding: bool = False
    dimension: int = 0
    judged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """Names of a flat row's columns; the embedding counts as one."""
        own = [*self._names(), *judged_columns(self.judged)]
        return [*own, *(["embedding"] if self.embedding else [])]

    @property
    @abstractmethod
    def in_parts(self) -> bool:
        """Whether one file may have several flat rows."""

    def nested(self, row: Row) -> dict[str, Any]:
        """A row as plain JSON types, which contains its frames or segments."""
        if row.answer is None:
            return {"file": row.file, "error": row.reason, "error_type": row.error_type}
        return {"file": row.file, **self._content(row), "timestamp": _when(row.answer).isoformat()}

    def flat(self, row: Row) -> Iterator[dict[str, Any]]:
        """Rows for tables, one for each frame or segment; missing columns stay empty."""
        if row.answer is None:
            yield {"file": row.file, "error": row.reason}
            return
        common = {
            "file": row.file,
            "duration": row.answer.duration,
            "weights": row.answer.weights,
            "timestamp": _when(row.answer),
        }
        for part in self._parts(row):
            yield {**common, **part}

    @abstractmethod
    def fits(self, nested: Mapping[str, Any]) -> bool:
        """Whether a nested row from a file has this shape; KeyError if it is not a row."""

    @abstractmethod
    def _names(self) -> list[str]: ...

    @abstractmethod
    def _content(self, row: Row) -> dict[str, Any]: ...

    @abstractmethod
    def _parts(self, row: Row) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True)
class PredictionShape(Shape):
    """Rows of predictions.

    Attributes:
        granularity: ``frame`` gives one flat row per frame.
    """

    granularity: Granularity = "utterance"

    @property
    def in_parts(self) -> bool:
        """Whether one file may have several flat rows."""
        return self.granularity == "frame"

    def fits(self, nested: Mapping[str, Any]) -> bool:
        """Whether a nested row from a file has this shape; KeyError if it is not a row."""
        return (
            nested["granularity"] == self.granularity
            and ("embedding" in nested) == self.embedding
            and _judged(nested) == self.judged
        )

    def _names(self) -> list[str]:
        names = ["file", *(["time"] if self.in_parts else [])]
        return [*names, "emotion", "confidence", *SCORES, "duration", "weights", *LAST]

    def _content(self, row: Row) -> dict[str, Any]:
        prediction = row.answer
        assert isinstance(prediction, Prediction)
        result = prediction.to_dict()
        if self.embedding and prediction.embedding is not None:
            result["embedding"] = short(prediction.embedding)
            if prediction.frames is not None and prediction.frames.embedding is not None:
                result["frame_embedding"] = [short(each) for each in prediction.frames.embedding]
        return result

    def _parts(self, row: Row) -> Iterator[dict[str, Any]]:
        prediction = row.answer
        assert isinstance(prediction, Prediction)
        common = prediction.decisions.flat()
        frames = prediction.frames
        if frames is None:
            yield {**common, **_emotion(prediction.scores), "embedding": prediction.embedding}
            return
        for index, time in enumerate(frames.times.tolist()):
            scores = dict(zip(SCORES, frames.scores[index].tolist()))
            vector = None if frames.embedding is None else frames.embedding[index]
            yield {**common, "time": round(time, 2), **_emotion(scores), "embedding": vector}


@dataclass(frozen=True)
class TimelineShape(Shape):
    """Rows of timelines; flat, one per segment, or a single one for a file without speech.

    Attributes:
        segmentation: ``vad`` or ``fixed``.
        speakers: Whether speakers are told apart.
    """

    segmentation: Segmentation = "vad"
    speakers: bool = False

    @property
    def in_parts(self) -> bool:
        """Whether one file may have several flat rows."""
        return True

    def fits(self, nested: Mapping[str, Any]) -> bool:
        """Whether a nested row from a file has this shape; KeyError if it is not a row."""
        segments = nested["segments"]
        embedding = "embedding" in segments[0] if segments else self.embedding
        judged = _judged(segments[0]) if segments else self.judged
        same = nested["segmentation"] == self.segmentation
        same = same and ("speakers" in nested) == self.speakers
        return same and embedding == self.embedding and judged == self.judged

    def _names(self) -> list[str]:
        return ["file", *own_columns(self.speakers), *SCORES, "duration", "weights", *LAST]

    def _content(self, row: Row) -> dict[str, Any]:
        timeline = row.answer
        assert isinstance(timeline, Timeline)
        result = timeline.to_dict()
        if self.embedding:
            for plain, segment in zip(result["segments"], timeline.segments):
                plain["embedding"] = [] if segment.embedding is None else short(segment.embedding)
        return result

    def _parts(self, row: Row) -> Iterator[dict[str, Any]]:
        assert isinstance(row.answer, Timeline)
        if not row.answer.segments:
            yield {}
        for flat, segment in zip(row.answer.rows(), row.answer.segments):
            yield {**flat, "embedding": segment.embedding}


def _judged(nested: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    policy = {"policy": nested["policy"]} if "policy" in nested else {}
    decisions = {**policy, **nested.get("heads", {})}
    return {name: tuple(decision["scores"]) for name, decision in decisions.items()}


def _when(answer: Answer) -> datetime:
    """When the result came, to the second, with its time zone."""
    return answer.timestamp.replace(microsecond=0)


def _emotion(scores: Mapping[str, float]) -> dict[str, Any]:
    best = max(scores, key=lambda name: scores[name])
    return {"emotion": best, "confidence": scores[best], **scores}


def short(vector: npt.NDArray[np.float32]) -> list[float]:
    """A float32 vector, rounded to as few digits as restore the same numbers."""
    return [float(f"{value:.9g}") for value in vector.tolist()]


def text_of(value: Any) -> Any:
    """A flat value as CSV writes it."""
    return value.isoformat() if isinstance(value, datetime) else value
