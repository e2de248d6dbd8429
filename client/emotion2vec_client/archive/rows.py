"""The row of a long recording: the summary of its timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emotion2vec_client._timeline import SCORES, Timeline
from emotion2vec_client.cli.rows import LAST, Row, Shape


@dataclass(frozen=True)
class RecordingShape(Shape):
    """One row per recording, of its speech as a whole; no emotion if it has no speech."""

    @property
    def in_parts(self) -> bool:
        """Whether one file may have several flat rows."""
        return False

    def fits(self, nested: Mapping[str, Any]) -> bool:
        """Whether a nested row from a file has this shape; KeyError if it is not a row."""
        return "summary" in nested

    def _names(self) -> list[str]:
        return ["file", "emotion", "confidence", *SCORES, "segments", "duration", "weights", *LAST]

    def _content(self, row: Row) -> dict[str, Any]:
        assert isinstance(row.answer, Timeline)
        return row.answer.to_dict()

    def _parts(self, row: Row) -> Iterator[dict[str, Any]]:
        assert isinstance(row.answer, Timeline)
        counted = {"segments": len(row.answer.segments)}
        summary = row.answer.summary
        if summary is None:
            yield counted
            return
        own = {"emotion": summary.emotion, "confidence": summary.confidence}
        yield {**counted, **own, **summary.scores, **summary.decisions.flat()}
