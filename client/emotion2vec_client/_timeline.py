"""Emotion over time in a long recording, and the files that a timeline can be saved to."""

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

from emotion2vec_client._judges import NOBODY, Judges, columns
from emotion2vec_client._result import FloatArray
from emotion2vec_client._summary import Segment, Summary, summarise
from emotion2vec_client.labels import LABELS

Segmentation = Literal["vad", "fixed"]

SEGMENTATION_OPTIONS = {"vad": ("min_segment", "max_segment"), "fixed": ("window", "hop")}
"""The options of each segmentation."""

FORMATS = (".json", ".csv", ".srt", ".vtt", ".png")
"""Extensions of the files that `Timeline.save` writes."""

PEAK_HOP = 0.096
"""Seconds between two peaks of a timeline."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Emotion over time in a recording.

    Attributes:
        segments: In the order of their starts.
        duration: Length of the recording in seconds.
        speech_ratio: Share of the recording that is speech, 0 to 1.
        segmentation: ``vad`` or ``fixed``.
        weights: ``pretrained``, ``demonstration`` or ``random``, as in `ModelInfo`.
        timestamp: When the response came, local time with its zone.
        peaks: Largest magnitude in each `PEAK_HOP` seconds, float32 [P], read-only, to draw the
            waveform.
        judges: The client's policy and heads, which have judged the segments.
    """

    segments: tuple[Segment, ...]
    duration: float
    speech_ratio: float
    segmentation: Segmentation
    weights: str
    timestamp: datetime
    peaks: FloatArray = field(repr=False)
    judges: Judges = field(default=NOBODY, repr=False)

    def __repr__(self) -> str:
        emotion = self.summary.emotion if self.summary else None
        return (
            f"Timeline({len(self.segments)} segments in {self.duration:.1f} s, "
            f"emotion={emotion!r}, weights={self.weights!r})"
        )

    @cached_property
    def summary(self) -> Summary | None:
        """The recording as a whole, or None if it has no speech."""
        return summarise(self.segments, self.judges)

    @property
    def embedding(self) -> FloatArray | None:
        """Embeddings of the segments, float32 [N, D]; None without segments or if not requested."""
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
        """A flat row per segment: start, end, speech, emotion, confidence and the nine scores.

        Then the label and scores of the policy and of each head, such as ``policy_label`` and
        ``policy_negative``.
        """
        rows = []
        for segment in self.segments:
            row = {name: getattr(segment, name) for name in COLUMNS[:5]}
            rows.append({**row, **segment.scores, **segment.decisions.flat()})
        return rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `rows`."""
        return [*COLUMNS, *columns(self.judges.labels)]

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        from emotion2vec_client.analysis.arrays import import_extra

        return import_extra("pandas").DataFrame(self.rows(), columns=self.columns)

    def to_csv(self) -> str:
        """The rows as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue()

    def to_srt(self) -> str:
        """The segments as SRT subtitles, which most players can show."""
        cues = (
            f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n"
            for number, (start, end, text) in enumerate(self._cues(), start=1)
        )
        return "\n".join(cues)

    def to_vtt(self) -> str:
        """The same subtitles as WebVTT, for browsers."""
        cues = (
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n"
            for start, end, text in self._cues()
        )
        return "\n".join(["WEBVTT\n", *cues])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON, CSV, SRT, WebVTT or a picture, depending on the extension.

        Args:
            path: Ends in one of `FORMATS`.

        Raises:
            ValueError: It has another extension.
            MissingPackageError: A picture needs matplotlib, which is not installed.
            OSError: The file cannot be written.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in FORMATS:
            raise ValueError(
                f"{path} does not show the format by its extension: use one of {', '.join(FORMATS)}"
            )
        if suffix == ".png":
            from emotion2vec_client.analysis.timeline_plot import write_png

            pieces = list(zip(self.segments, self.visible_ends()))
            write_png(target, pieces, self.summary, self.duration, self.weights)
            return
        if suffix == ".json":
            text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"
        else:
            text = {".csv": self.to_csv, ".srt": self.to_srt, ".vtt": self.to_vtt}[suffix]()
        target.write_text(text, encoding="utf-8")

    def visible_ends(self) -> list[float]:
        """End of each segment, or the start of the next if the two overlap, as windows may."""
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
                _caption(segment),
            )
            for segment, end in zip(self.segments, self.visible_ends())
        ]


def check_options(segmentation: str, seconds: Mapping[str, float | None]) -> None:
    """Refuses options of the other segmentation; the server checks the numbers.

    Args:
        segmentation: ``vad`` or ``fixed``.
        seconds: ``min_segment``, ``max_segment``, ``window`` and ``hop``; None if not given.

    Raises:
        ValueError: The segmentation is unknown, or an option belongs to the other one.
    """
    if segmentation not in SEGMENTATION_OPTIONS:
        raise ValueError(f"unknown segmentation {segmentation!r}: use 'vad' or 'fixed'")
    for other, names in SEGMENTATION_OPTIONS.items():
        for name in names:
            if other != segmentation and seconds.get(name) is not None:
                raise ValueError(f"{name} is an option of segmentation={other!r}: add that")


COLUMNS = ["start", "end", "speech", "emotion", "confidence", *(label.name for label in LABELS)]


def _caption(segment: Segment) -> str:
    """The policy's answer if there is a policy, else the emotion."""
    if segment.policy is not None:
        return f"{segment.policy.label} {100 * segment.policy.confidence:.0f} %"
    return f"{segment.label.emoji} {segment.emotion} {100 * segment.confidence:.0f} %"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
