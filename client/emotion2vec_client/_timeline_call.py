"""Requests for timelines, and how to read their responses."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from emotion2vec_client import _speakers
from emotion2vec_client._judges import NOBODY, Judges
from emotion2vec_client._protocol import (
    TIMELINE_MODEL,
    Call,
    Tensors,
    check_finite,
    check_timeout,
)
from emotion2vec_client._result import ModelInfo, read_only_scores
from emotion2vec_client._speakers import Channels, Speakers
from emotion2vec_client._summary import Segment
from emotion2vec_client._timeline import Segmentation, Timeline

NAMES = ["segments", "scores", "speech", "speech_ratio", "duration", "peaks"]
SPEAKERS_NAMES = ["speaker", "speaker_seconds", "overlap"]

SEGMENTATION_OPTIONS = {"vad": ("min_segment", "max_segment"), "fixed": ("window", "hop")}
"""The options of each segmentation."""


def check_timeline_options(
    segmentation: str,
    seconds: Mapping[str, float | None],
    channels: str,
    speakers: object,
    names: Sequence[str],
) -> None:
    """Refuses options of `Client.timeline` that do not fit together; the server checks numbers.

    Args:
        segmentation: ``vad`` or ``fixed``.
        seconds: ``min_segment``, ``max_segment``, ``window`` and ``hop``; None if not given.
        channels: ``mixed`` or ``separate``.
        speakers: A number, or ``auto``.
        names: Of the speakers.

    Raises:
        ValueError: An option is unknown, or two exclude each other.
        TypeError: ``names`` is one name instead of a list.
    """
    if segmentation not in SEGMENTATION_OPTIONS:
        raise ValueError(f"unknown segmentation {segmentation!r}: use 'vad' or 'fixed'")
    for other, options in SEGMENTATION_OPTIONS.items():
        for name in options:
            if other != segmentation and seconds.get(name) is not None:
                raise ValueError(f"{name} is an option of segmentation={other!r}: add that")
    if channels not in ("mixed", "separate"):
        raise ValueError(f"unknown channels {channels!r}: use 'mixed' or 'separate'")
    if channels == "separate" and speakers != 1:
        raise ValueError(
            f"speakers is {speakers!r} and channels is 'separate', where each channel is one "
            "speaker: leave one of the two out"
        )
    if speakers != "auto" and speakers not in range(1, _speakers.MOST_SPEAKERS + 1):
        raise ValueError(f"speakers is {speakers!r}: use 'auto', or 1 to {_speakers.MOST_SPEAKERS}")
    if segmentation == "fixed" and speakers != 1:
        raise ValueError("speakers are told apart where speech is cut at pauses: leave out windows")
    _speakers.check_names(names)
    if isinstance(speakers, int) and 1 < speakers < len(names):
        raise ValueError(f"there are {len(names)} names for {speakers} speakers")
    if names and not _speakers.are_told_apart(channels, speakers):
        raise ValueError("names are for several speakers: add channels='separate' or speakers=2")


def timeline_call(
    timeout: float,
    segmentation: Segmentation,
    channels: Channels,
    speakers: Speakers,
    names: Sequence[str],
    embedding: bool,
    judges: Judges,
    **seconds: float | None,
) -> Call:
    """A request for a timeline, without the recording; arguments as of `Client.timeline`.

    Raises:
        ValueError: An option does not fit the others.
        TypeError: The timeout is not a number, or ``names`` is one string.
    """
    check_timeline_options(segmentation, seconds, channels, speakers, names)
    # The server has its own defaults.
    parameters = {name: str(value) for name, value in seconds.items() if value is not None}
    outputs = list(NAMES)
    if _speakers.are_told_apart(channels, speakers):
        parameters |= {"channels": str(channels), "speakers": str(speakers)}
        outputs += SPEAKERS_NAMES
    if embedding or judges.heads:
        outputs.append("embedding")
    return Call(
        TIMELINE_MODEL,
        outputs,
        check_timeout(timeout),
        id=uuid.uuid4().hex,
        parameters={"segmentation": str(segmentation), **parameters},
        embedding=embedding,
        speakers=tuple(names),
    )


def read_timeline(
    tensors: Tensors, call: Call, info: ModelInfo, judges: Judges = NOBODY
) -> Timeline:
    """Makes a timeline from the outputs of a request, each with a batch dimension of 1.

    Raises:
        AnalysisError: A head cannot use the embeddings.
        Emotion2VecError: An output is not finite.
    """
    rows = {name: tensor[0] for name, tensor in tensors.items()}
    check_finite(rows, info)
    nothing = [None] * len(rows["segments"])
    channels = call.parameters.get("channels", "mixed")
    seconds = rows.get("speaker_seconds", [])
    names = _speakers.name_all(len(seconds), channels, call.speakers)
    segments = []
    for (start, end), row, speech, vector, speaker in zip(
        rows["segments"],
        rows["scores"],
        rows["speech"],
        rows.get("embedding", nothing),
        rows.get("speaker", nothing),
    ):
        scores = read_only_scores(row)
        segments.append(
            Segment(
                float(start),
                float(end),
                scores,
                float(speech),
                vector if call.embedding else None,
                judges.decide(scores, vector),
                None if speaker is None else names[speaker],
            )
        )
    return Timeline(
        segments=tuple(segments),
        duration=float(rows["duration"][0]),
        speech_ratio=float(rows["speech_ratio"][0]),
        segmentation=cast("Segmentation", call.parameters["segmentation"]),
        weights=info.weights,
        timestamp=datetime.now().astimezone(),
        peaks=rows["peaks"],
        judges=judges,
        speaker_seconds={name: float(each) for name, each in zip(names, seconds)},
        overlap=float(rows["overlap"][0]) if channels == "separate" else None,
    )
