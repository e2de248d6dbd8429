"""Requests to the server, and how to read its responses; nothing here sends or waits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client._audio import SAMPLE_RATE, Waveform
from emotion2vec_client._endpoint import is_this_machine
from emotion2vec_client._judges import NOBODY, Judges
from emotion2vec_client._result import (
    FRAME_HOP,
    Frames,
    Granularity,
    ModelInfo,
    Prediction,
    read_only_scores,
)
from emotion2vec_client.errors import (
    REASONS,
    AccessDeniedError,
    Emotion2VecError,
    InvalidAudioError,
    OverloadedError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from emotion2vec_client.labels import LABELS

Tensors = Mapping[str, npt.NDArray[Any]]

MODELS: dict[Granularity, str] = {"utterance": "emotion2vec", "frame": "emotion2vec_frame"}
"""The model that answers a request, by its granularity."""

TIMELINE_MODEL = "emotion2vec_timeline"
"""The model that answers a request for a timeline."""

ENCODER = "encoder"
PREPROCESS = "preprocess"
QUEUE_FULL = ("maximum queue size", "Request timeout expired")
"""How Triton reports that a queue is full, or that a request waited in it for too long."""

GRPC_CONNECTS = ("failed to connect to all addresses", "DNS resolution failed", "errors resolving")
"""How gRPC's messages begin if it cannot connect; the cause comes last, after a colon."""

ENCODER_INPUTS = ["waveform", "frames"]
WAVEFORM_NAMES = ["samples", "source_rate", *ENCODER_INPUTS]

POLL_TIMEOUT = 5.0
"""Longest wait, in seconds, for a response that the server can give at once."""


@dataclass(frozen=True)
class Call:
    """One request to a model.

    Attributes:
        model: Name of the model.
        names: Outputs to request.
        timeout: Seconds to wait for the response.
        inputs: Input tensors by name; `of` fills them in.
        known: Outputs that the client has already, and does not request.
        id: Lets `about` refer to this request.
        parameters: Further parameters of the request.
        embedding: Whether the result shall have the embedding; heads need it in any case.
        speakers: Names of the speakers of a timeline.
        headers: Sent with this request, besides those of the client.
    """

    model: str
    names: list[str]
    timeout: float
    inputs: Tensors = field(default_factory=dict, repr=False)
    known: Tensors = field(default_factory=dict, repr=False)
    id: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    embedding: bool = False
    speakers: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def of(self, audio: bytes | Waveform) -> Call:
        """The same call for this audio; a decoded clip goes straight to the encoder."""
        if isinstance(audio, bytes):
            return replace(self, inputs={"audio": np.array([[audio]], np.object_)})
        known = {"num_samples": np.array([[len(audio.samples)]], np.int32)}
        names = [name for name in self.names if name not in known]
        return replace(self, model=ENCODER, names=names, inputs=audio.inputs, known=known)

    def after(self, seconds: float) -> Call:
        """The same call with the time that is left after ``seconds``."""
        return replace(self, timeout=max(self.timeout - seconds, 0.001))

    def about(self, request: str) -> Call:
        """A call that asks for the progress of this one or cancels it.

        Args:
            request: ``progress_of`` or ``cancel``.
        """
        parameters = {request: self.id}
        return Call(TIMELINE_MODEL, ["progress"], POLL_TIMEOUT, parameters=parameters).of(b"")


def check_timeout(timeout: float) -> float:
    """Refuses anything but a positive, finite number of seconds."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a {type(timeout).__name__}: give a number of seconds")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout is {timeout}: give a positive number of seconds")
    return timeout


def output_names(granularity: Granularity, embedding: bool) -> list[str]:
    """The outputs to request: only those that the prediction contains."""
    if granularity not in MODELS:
        known = " or ".join(repr(name) for name in MODELS)
        raise ValueError(f"unknown granularity {granularity!r}: use {known}")
    names = ["num_samples", "scores"]
    names += ["embedding"] if embedding else []
    names += ["frame_scores"] if granularity == "frame" else []
    names += ["frame_embedding"] if granularity == "frame" and embedding else []
    return names


def read_prediction(
    tensors: Tensors, info: ModelInfo, judges: Judges = NOBODY, embedding: bool = True
) -> Prediction:
    """Makes a prediction from the server's outputs.

    Args:
        tensors: The outputs of `output_names`, each with a batch dimension of 1.
        info: The model that produced them.
        judges: Judge the answer.
        embedding: Whether the prediction keeps the embedding of the outputs.

    Raises:
        Emotion2VecError: An output is missing, is not finite, or does not have one score per
            emotion.
    """
    rows: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if tensor is None:
            raise Emotion2VecError(f"the server's answer lacks {name!r}: is it emotion2vec-triton?")
        if name.endswith("scores") and tensor.shape[-1] != len(LABELS):
            raise Emotion2VecError(
                f"the server's {name!r} has shape {list(tensor.shape)} and not {len(LABELS)} "
                "scores: is it emotion2vec-triton?"
            )
        rows[name] = tensor[0]
    check_finite(rows, info)
    frames = None
    if "frame_scores" in rows:
        frames = Frames(
            times=np.arange(len(rows["frame_scores"])) * FRAME_HOP,
            scores=rows["frame_scores"],
            embedding=rows.get("frame_embedding"),
        )
    scores = read_only_scores(rows["scores"])
    return Prediction(
        scores=scores,
        granularity="utterance" if frames is None else "frame",
        duration=int(rows["num_samples"][0]) / SAMPLE_RATE,
        weights=info.weights,
        embedding=rows.get("embedding") if embedding else None,
        frames=frames,
        timestamp=datetime.now().astimezone(),
        decisions=judges.decide(scores, rows.get("embedding")),
    )


def check_finite(rows: Mapping[str, npt.NDArray[Any]], info: ModelInfo) -> None:
    """Raises Emotion2VecError if an output has a number that is not finite."""
    for name, row in rows.items():
        if not np.isfinite(row).all():
            advice = "" if info.precision == "fp32" else ": export it with --precision fp32"
            raise Emotion2VecError(
                f"the model's {name!r} for this recording, computed in {info.precision}, is not "
                f"finite{advice}"
            )


def read_waveform(tensors: Tensors) -> Waveform:
    """Makes a waveform from the outputs `WAVEFORM_NAMES`, each with a batch dimension of 1."""
    inputs = {name: tensors[name] for name in ENCODER_INPUTS}
    return Waveform(tensors["samples"][0], int(tensors["source_rate"][0, 0]), inputs)


def read_card(text: str, url: str) -> ModelInfo:
    """Reads a model card; ``url`` is named in the error.

    Raises:
        Emotion2VecError: The card is missing, or lacks what an export writes.
    """
    try:
        card: dict[str, Any] = json.loads(text)
        license = card.get("license")
        return ModelInfo(
            checkpoint=card["checkpoint"],
            revision=card["revision"],
            weights=card["weights"],
            published=card.get("published"),
            license=(license["name"], license["link"]) if license else None,
            precision=card["precision"],
            target=card["target"],
            labels=tuple(card["labels"]),
            uar=card.get("uar"),
            card=card,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Emotion2VecError(
            f"the server at {url} has no readable model card: export its model again with "
            f"'make export' ({type(error).__name__}: {error})"
        ) from error


def error_of(status: str, reason: str, url: str, timeout: float) -> Emotion2VecError:
    """This library's error for a failed call.

    Args:
        status: gRPC's name for the status; the HTTP transport translates its own.
        reason: Message of the server or of the transport.
        url: Address of the server.
        timeout: The call's timeout in seconds.
    """
    # Triton puts the model's name before the reason that our backend gives.
    reason = re.sub(r"^in ensemble '\w+', ", "", reason)
    if status == "INVALID_ARGUMENT":
        # The server sends a code for programs, then a sentence for people.
        word, _, sentence = reason.partition(": ")
        known = word in REASONS
        return InvalidAudioError(sentence if known else reason, word if known else None)
    reason = _short(reason)
    if status == "DEADLINE_EXCEEDED":
        return timed_out(url, timeout)
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return AccessDeniedError(f"{url} does not accept the API key: check api_key ({reason})")
    if status == "RESOURCE_EXHAUSTED" or any(words in reason for words in QUEUE_FULL):
        return OverloadedError(f"the server at {url} has too much to do: try later ({reason})")
    # A model whose process has died comes back only with a restart of the server. A server that
    # ends cancels the calls for which it has no time left; gRPC then gives no other reason.
    ended = status in ("UNAVAILABLE", "NOT_FOUND") or reason == "CANCELLED"
    if ended or "is not healthy" in reason:
        remedy = (
            "start it with 'make run', or check the address"
            if is_this_machine(url)
            else "check the address, or ask who runs it"
        )
        return ServerUnavailableError(
            f"no emotion2vec-triton server is ready at {url}: {remedy} ({reason})"
        )
    return Emotion2VecError(f"the server at {url} failed: {reason}")


def _short(reason: str) -> str:
    """A reason without details that only developers of gRPC or sockets need."""
    # After the first line, gRPC lists positions in its source.
    reason = reason.partition("\n")[0]
    if reason.startswith(GRPC_CONNECTS):
        # Such as "…; last error: UNKNOWN: ipv6:%5B::1%5D:8001: …: Connection refused (111)".
        reason = reason.rpartition(": ")[2].rstrip("]")
    return re.sub(r"^\[Errno -?\d+\] | \(\d+\)$", "", reason)


def timed_out(url: str, timeout: float) -> PredictionTimeoutError:
    """The error for a response that did not come within ``timeout`` seconds."""
    return PredictionTimeoutError(
        f"no answer from {url} in {timeout:g} s: the server may be busy, or the timeout too short"
    )
