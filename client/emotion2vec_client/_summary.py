"""Sums up the segments of a timeline: see docs/timeline.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion2vec_client._decision import UNDECIDED, Decisions
from emotion2vec_client._judges import NOBODY, Judges
from emotion2vec_client._result import FloatArray, Scored, read_only_scores
from emotion2vec_client.labels import LABELS

SMOOTHING = 15.0
"""Smoothed scores are means over this many seconds before and after a segment's middle."""

SMOOTHING_SHARE = 1 / 8
"""In a short recording, over this share of it instead, because otherwise it would have one mood."""

NEGATIVE = frozenset(("angry", "disgusted", "fearful", "sad"))
"""Emotions that make a stretch negative."""


@dataclass(frozen=True, eq=False)
class Segment(Scored):
    """A piece of the recording and its emotion.

    Attributes:
        start: In seconds.
        end: In seconds.
        scores: Probability of each emotion by name; nine that sum to 1.
        speech: Share of the segment that is speech, 0 to 1.
        embedding: float32 [D], read-only, or None if not requested.
        decisions: Of the client's policy and heads.
        speaker: Who speaks; None if speakers were not told apart.
    """

    start: float
    end: float
    scores: Mapping[str, float]
    speech: float
    embedding: FloatArray | None
    decisions: Decisions = UNDECIDED
    speaker: str | None = None

    def __repr__(self) -> str:
        return (
            f"Segment({self.start:.2f}-{self.end:.2f} s, emotion={self.emotion!r}, "
            f"confidence={self.confidence:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The segment as plain JSON types, without the embedding."""
        return {
            "start": self.start,
            "end": self.end,
            **({} if self.speaker is None else {"speaker": self.speaker}),
            "speech": self.speech,
            "emotion": self.emotion,
            "confidence": self.confidence,
            "scores": dict(self.scores),
            **self.decisions.to_dict(),
        }


@dataclass(frozen=True)
class TurningPoint:
    """A time at which the smoothed dominant emotion changes.

    Attributes:
        time: Start of the first segment with the new emotion, in seconds.
        before: The emotion until then.
        after: The new emotion.
    """

    time: float
    before: str
    after: str


@dataclass(frozen=True)
class Stretch:
    """A part of the recording.

    Attributes:
        start: In seconds.
        end: In seconds.
    """

    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Summary(Scored):
    """A recording's speech as a whole.

    Attributes:
        scores: Mean of the segments' scores, weighted by their seconds of speech; by name.
        turning_points: In order of time.
        negative: The longest stretch whose smoothed dominant emotion is negative, or None.
        decisions: Of the client's policy, about these scores, and of its heads, whose scores are
            means as well.
    """

    scores: Mapping[str, float]
    turning_points: tuple[TurningPoint, ...]
    negative: Stretch | None
    decisions: Decisions = UNDECIDED

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain JSON types."""
        return {
            "emotion": self.emotion,
            "confidence": self.confidence,
            "scores": dict(self.scores),
            "turning_points": [vars(point) for point in self.turning_points],
            "negative": vars(self.negative) if self.negative else None,
            **self.decisions.to_dict(),
        }


def summarise(segments: Sequence[Segment], judges: Judges = NOBODY) -> Summary | None:
    """Sums up segments.

    Args:
        segments: In the order of their starts.
        judges: Who has judged the segments.

    Returns:
        The summary, or None if no segment has speech.
    """
    spoken = [segment for segment in segments if segment.speech > 0]
    if not spoken:
        return None
    weights = np.array([(each.end - each.start) * each.speech for each in spoken])
    scores = np.array([[each.scores[label.name] for label in LABELS] for each in spoken])
    emotions = [LABELS[index].name for index in _smoothed(spoken, weights, scores).argmax(axis=1)]
    turns = tuple(
        TurningPoint(segment.start, before, after)
        for segment, before, after in zip(spoken[1:], emotions, emotions[1:])
        if before != after
    )
    mean = read_only_scores(np.average(scores, axis=0, weights=weights))
    decisions = judges.sum_up(mean, [each.decisions for each in spoken], weights)
    return Summary(mean, turns, _longest_negative(spoken, emotions), decisions)


def _smoothed(spoken: Sequence[Segment], weights: Any, scores: Any) -> Any:
    """The weighted mean of the scores around each segment's middle, float64 [n, 9]."""
    middles = np.array([(segment.start + segment.end) / 2 for segment in spoken])
    length = max(each.end for each in spoken) - min(each.start for each in spoken)
    reach = min(SMOOTHING, SMOOTHING_SHARE * length)
    order = np.argsort(middles)
    low = np.searchsorted(middles[order], middles - reach, "left")
    high = np.searchsorted(middles[order], middles + reach, "right")
    weighted = np.concatenate([weights[:, np.newaxis] * scores, weights[:, np.newaxis]], axis=1)
    sums = np.concatenate([np.zeros((1, weighted.shape[1])), np.cumsum(weighted[order], axis=0)])
    around = sums[high] - sums[low]
    return around[:, :-1] / around[:, -1:]


def _longest_negative(spoken: Sequence[Segment], emotions: Sequence[str]) -> Stretch | None:
    longest: Stretch | None = None
    start: float | None = None
    for segment, emotion in zip(spoken, emotions):
        if emotion not in NEGATIVE:
            start = None
            continue
        start = segment.start if start is None else start
        if longest is None or segment.end - start > longest.end - longest.start:
            longest = Stretch(start, segment.end)
    return longest
