"""What a stream sends back: measurements, where speech starts and ends, and totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Union

import numpy as np

from emotion2vec_client._decision import Decision, Decisions
from emotion2vec_client._result import FRAME_HOP, Frames, Prediction
from emotion2vec_client._speakers import Conversation
from emotion2vec_client.errors import Emotion2VecError
from emotion2vec_client.labels import LABELS


@dataclass(frozen=True, eq=False)
class Measurement:
    """The emotion of a part of a stream.

    Attributes:
        kind: ``interim`` for the last seconds of speech that goes on, ``final`` for a segment.
        channel: 0 or 1.
        speaker: Name of the channel, if there are two; else None.
        start: Seconds from the start of the stream.
        end: The same.
        speech: Share of it that is speech, 0 to 1; None for an interim one.
        prediction: What `Client.predict` gives for exactly this audio; None if there is an error.
        error: Why a final measurement has no prediction.
    """

    kind: Literal["interim", "final"]
    channel: int
    speaker: str | None
    start: float
    end: float
    speech: float | None
    prediction: Prediction | None
    error: Emotion2VecError | None = None

    def unwrap(self) -> Prediction:
        """Returns the prediction, or raises the error."""
        if self.prediction is None:
            raise self.error or Emotion2VecError("the measurement has no prediction")
        return self.prediction


@dataclass(frozen=True)
class SpeechStarted:
    """Speech has begun on a channel, ``start`` seconds from the start of the stream."""

    channel: int
    start: float
    speaker: str | None = None


@dataclass(frozen=True)
class SpeechEnded:
    """A pause has ended speech on a channel, ``end`` seconds from the start of the stream."""

    channel: int
    end: float
    speaker: str | None = None


@dataclass(frozen=True)
class StreamTotals:
    """What a stream was, when it is over.

    Attributes:
        reason: ``closed`` if the client ended it; else ``idle``, ``too_long``,
            ``too_many_errors`` or ``stopping``.
        duration: Seconds of audio.
        speech: Seconds of speech, by channel.
        final: Final measurements.
        interim: Interim measurements.
        skipped: Interim measurements that the server had no time for.
        failed: Final measurements that have an error.
        conversation: What happened between the two channels; None if there is one.
    """

    reason: str
    duration: float
    speech: tuple[float, ...]
    final: int
    interim: int
    skipped: int
    failed: int
    conversation: Conversation | None = None


StreamEvent = Union[SpeechStarted, SpeechEnded, Measurement]


def read_message(message: Mapping[str, Any]) -> StreamEvent | StreamTotals | None:
    """Reads a message of the gateway; returns None for one that is none of these.

    Raises:
        Emotion2VecError: The gateway has refused a message.
    """
    kind = message["type"]
    if kind == "speech.started":
        return SpeechStarted(message["channel"], message["start"] / 1000, message.get("speaker"))
    if kind == "speech.ended":
        return SpeechEnded(message["channel"], message["end"] / 1000, message.get("speaker"))
    if kind == "measurement":
        return Measurement(
            message["kind"],
            message["channel"],
            message.get("speaker"),
            message["start"] / 1000,
            message["end"] / 1000,
            message.get("speech"),
            _prediction(message["result"]),
        )
    if kind == "error":
        error = Emotion2VecError(message["detail"])
        if "start" not in message:
            raise error
        start, end = message["start"] / 1000, message["end"] / 1000
        channel, speaker = message["channel"], message.get("speaker")
        return Measurement("final", channel, speaker, start, end, None, None, error)
    if kind == "session.closed":
        names = ("reason", "duration", "speech", "final", "interim", "skipped", "failed")
        values = {name: message[name] for name in names}
        between = message.get("conversation")
        conversation = None if between is None else Conversation.read(between)
        return StreamTotals(
            **{**values, "speech": tuple(values["speech"])}, conversation=conversation
        )
    return None


def _prediction(result: Mapping[str, Any]) -> Prediction:
    made = {name: _decision(each) for name, each in (result.get("heads") or {}).items()}
    policy = _decision(result["policy"]) if "policy" in result else None
    frames = None
    if "frame_scores" in result:
        columns = [result["frame_scores"][label.name] for label in LABELS]
        scores = np.array(columns, np.float32).T
        scores.setflags(write=False)
        frames = Frames(np.arange(len(scores)) * FRAME_HOP, scores, None)
    return Prediction(
        MappingProxyType(dict(result["scores"])),
        result["granularity"],
        result["duration"],
        result["weights"],
        None,
        frames,
        datetime.strptime(result["timestamp"], "%Y-%m-%d %H:%M:%S").astimezone(),
        Decisions(policy, made),
    )


def _decision(made: Mapping[str, Any]) -> Decision:
    scores = MappingProxyType(dict(made["scores"]))
    return Decision(made["label"], made["confidence"], scores, made.get("names") or {})
