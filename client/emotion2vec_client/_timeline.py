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
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emotion2vec_client._judges import NOBODY, Judges, columns
from emotion2vec_client._result import FloatArray
from emotion2vec_client._speakers import Conversation, Speaker, converse, sum_up
from emotion2vec_client._summary import Segment, Summary, summarise
from emotion2vec_client.labels import LABELS

Segmentation = Literal["vad", "fixed"]

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
        speaker_seconds: Seconds of speech by the speaker's name; empty if speakers were not told
            apart.
        overlap: See `Conversation`.
    """

    segments: tuple[Segment, ...]
    duration: float
    speech_ratio: float
    segmentation: Segmentation
    weights: str
    timestamp: datetime
    peaks: FloatArray = field(repr=False)
    judges: Judges = field(default=NOBODY, repr=False)
    speaker_seconds: Mapping[str, float] = field(default_factory=dict)
    overlap: float | None = None

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

    @cached_property
    def speakers(self) -> tuple[Speaker, ...]:
        """Each speaker; empty if speakers were not told apart."""
        return sum_up(self.segments, self.speaker_seconds, self.judges)

    @cached_property
    def conversation(self) -> Conversation | None:
        """What happened between the speakers; None if they were not told apart."""
        return converse(self.speakers, self.overlap) if self.speakers else None

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
            **self._speakers_dict(),
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def _speakers_dict(self) -> dict[str, Any]:
        if self.conversation is None:
            return {}
        return {
            "speakers": [speaker.to_dict() for speaker in self.speakers],
            "conversation": self.conversation.to_dict(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per segment: start, end, speech, emotion, confidence and the nine scores.

        After the end comes the speaker, if speakers were told apart; last the label and scores of
        the policy and of each head, such as ``policy_label`` and ``policy_negative``.
        """
        own = own_columns(bool(self.speakers))
        rows = []
        for segment in self.segments:
            row = {name: getattr(segment, name) for name in own}
            rows.append({**row, **segment.scores, **segment.decisions.flat()})
        return rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `rows`."""
        own = own_columns(bool(self.speakers))
        return [*own, *SCORES, *columns(self.judges.labels)]

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
            f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text.replace('-->', '→')}\n"
            for number, (start, end, text) in enumerate(self._cues(), start=1)
        )
        return "\n".join(cues)

    def to_vtt(self) -> str:
        """The same subtitles as WebVTT, for browsers."""
        cues = (
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n{escape(text, quote=False)}\n"
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

            write_png(target, self)
            return
        if suffix == ".json":
            text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"
        else:
            text = {".csv": self.to_csv, ".srt": self.to_srt, ".vtt": self.to_vtt}[suffix]()
        target.write_text(text, encoding="utf-8")

    def visible_ends(self) -> list[float]:
        """End of each segment, or the start of the same speaker's next one: windows may overlap."""
        ends = []
        following: dict[str | None, float] = {}
        for segment in reversed(self.segments):
            ends.append(min(segment.end, following.get(segment.speaker, segment.end)))
            following[segment.speaker] = segment.start
        return ends[::-1]

    def _cues(self) -> list[tuple[float, float, str]]:
        return [
            (
                segment.start,
                end,
                _caption(segment),
            )
            for segment, end in zip(self.segments, self.visible_ends())
        ]


SCORES = [label.name for label in LABELS]


def own_columns(speakers: bool) -> list[str]:
    """Names of a row's first columns, before the nine scores."""
    return ["start", "end", *(["speaker"] if speakers else []), "speech", "emotion", "confidence"]


def _caption(segment: Segment) -> str:
    """The speaker if there are several, and the policy's answer if there is one, or the emotion."""
    who = "" if segment.speaker is None else f"{segment.speaker}: "
    if segment.policy is not None:
        return f"{who}{segment.policy.label} {100 * segment.policy.confidence:.0f} %"
    return f"{who}{segment.label.emoji} {segment.emotion} {100 * segment.confidence:.0f} %"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
