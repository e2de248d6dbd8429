"""The course of emotion through a long recording, and the files that show it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emotion2vec_client.labels import LABELS
from emotion2vec_client.result import FloatArray
from emotion2vec_client.summary import Segment, Summary, summarise

Segmentation = Literal["vad", "fixed"]

OPTIONS_OF = {"vad": ("min_segment", "max_segment"), "fixed": ("window", "hop")}
"""The options of each segmentation."""

FORMATS = (".json", ".csv", ".srt", ".vtt", ".png")
"""What `Timeline.save` writes, by the end of the file's name."""

PEAK_HOP = 0.096
"""Seconds from one of a timeline's peaks to the next."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The course of emotion through a recording.

    Attributes:
        segments: In the order of their starts.
        duration: Length of the recording in seconds.
        speech_ratio: Share of it that is speech, 0 to 1.
        segmentation: ``vad`` or ``fixed``.
        weights: ``pretrained``, or ``random`` where the scores mean nothing.
        timestamp: When the answer came, local time with its zone.
        peaks: The largest magnitude in each `PEAK_HOP` seconds, float32 [P], read-only; for a
            picture of the recording.
    """

    segments: tuple[Segment, ...]
    duration: float
    speech_ratio: float
    segmentation: Segmentation
    weights: str
    timestamp: datetime
    peaks: FloatArray = field(repr=False)

    def __repr__(self) -> str:
        emotion = self.summary.emotion if self.summary else None
        return (
            f"Timeline({len(self.segments)} segments in {self.duration:.1f} s, "
            f"emotion={emotion!r}, weights={self.weights!r})"
        )

    @cached_property
    def summary(self) -> Summary | None:
        """The whole in a few figures, None where there is no speech."""
        return summarise(self.segments)

    @property
    def embedding(self) -> FloatArray | None:
        """The segments' embeddings, float32 [N, D]; None without segments or when not asked for."""
        rows = [each.embedding for each in self.segments if each.embedding is not None]
        return np.array(rows) if rows else None

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types, without embeddings and peaks."""
        return {
            "duration": self.duration,
            "speech_ratio": self.speech_ratio,
            "segmentation": self.segmentation,
            "weights": self.weights,
            "timestamp": self.timestamp.strftime("%Y-%m-%d %H:%M:%S"),
            "summary": self.summary.to_dict() if self.summary else None,
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per segment: start, end, speech, emotion, confidence and the nine scores."""
        rows = [segment.to_dict() for segment in self.segments]
        for row in rows:
            row.update(row.pop("scores"))
        return rows

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        from emotion2vec_client.analysis.arrays import import_extra

        return import_extra("pandas").DataFrame(self.rows(), columns=COLUMNS)

    def to_csv(self) -> str:
        """The rows as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue()

    def to_srt(self) -> str:
        """Subtitles that any player shows with the recording."""
        cues = (
            f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n"
            for number, (start, end, text) in enumerate(self._cues(), start=1)
        )
        return "\n".join(cues)

    def to_vtt(self) -> str:
        """The same as WebVTT, for browsers."""
        cues = (
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n"
            for start, end, text in self._cues()
        )
        return "\n".join(["WEBVTT\n", *cues])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file: JSON, CSV, SRT, WebVTT or a picture, as its name ends.

        Args:
            path: Ends in one of `FORMATS`.

        Raises:
            ValueError: It ends in anything else.
            MissingPackageError: matplotlib is not installed, for a picture.
            OSError: The file cannot be written.
        """
        target = Path(path)
        suffix = check_format(target)
        if suffix == ".png":
            from emotion2vec_client.analysis.timeline_plot import write_png

            write_png(target, self)
            return
        if suffix == ".json":
            text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"
        else:
            text = {".csv": self.to_csv, ".srt": self.to_srt, ".vtt": self.to_vtt}[suffix]()
        target.write_text(text, encoding="utf-8")

    def visible_ends(self) -> list[float]:
        """Where each segment ends, or the next begins before that, as windows that overlap do."""
        starts = [segment.start for segment in self.segments[1:]]
        return [
            min(segment.end, start)
            for segment, start in zip(self.segments, [*starts, float("inf")])
        ]

    def _cues(self) -> list[tuple[float, float, str]]:
        return [
            (
                segment.start,
                end,
                f"{segment.label.emoji} {segment.emotion} {100 * segment.confidence:.0f} %",
            )
            for segment, end in zip(self.segments, self.visible_ends())
        ]


def check_options(segmentation: str, seconds: Mapping[str, float | None]) -> None:
    """Refuses options of the other segmentation; whether numbers make sense the server knows.

    Args:
        segmentation: ``vad`` or ``fixed``.
        seconds: ``min_segment``, ``max_segment``, ``window`` and ``hop``; None is not given.

    Raises:
        ValueError: The segmentation is unknown, or an option belongs to the other one.
    """
    if segmentation not in OPTIONS_OF:
        raise ValueError(f"unknown segmentation {segmentation!r}: use 'vad' or 'fixed'")
    for other, names in OPTIONS_OF.items():
        for name in names:
            if other != segmentation and seconds.get(name) is not None:
                raise ValueError(f"{name} is an option of segmentation={other!r}: add that")


COLUMNS = ["start", "end", "speech", "emotion", "confidence", *(label.name for label in LABELS)]


def check_format(path: Path) -> str:
    """The end of a file's name, in small letters.

    Raises:
        ValueError: No timeline is written so.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(
            f"{path} does not show the format by its extension: use one of {', '.join(FORMATS)}"
        )
    return suffix


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
