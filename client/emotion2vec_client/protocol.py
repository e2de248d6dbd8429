"""What the client says to the server and how it reads the answer; nothing here waits or sends."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np
import numpy.typing as npt
from tritonclient.utils import InferenceServerException

from emotion2vec_client.errors import (
    Emotion2VecError,
    InvalidAudioError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from emotion2vec_client.labels import LABELS
from emotion2vec_client.result import (
    FRAME_HOP,
    FloatArray,
    Frames,
    Granularity,
    ModelInfo,
    Prediction,
    read_only_scores,
)

Audio = Union[str, "os.PathLike[str]", bytes, BinaryIO]

MODELS: dict[Granularity, str] = {"utterance": "emotion2vec", "frame": "emotion2vec_frame"}
ENCODER = "encoder"


def check_url(url: str) -> str:
    """Refuses what gRPC would fail on with a message of its own, or much later."""
    if not isinstance(url, str):
        raise TypeError(f"url is a {type(url).__name__}: give a string such as 'localhost:8001'")
    if not url.strip():
        raise ValueError(f"url is {url!r}: give host and port, such as 'localhost:8001'")
    return url


def check_timeout(timeout: float) -> float:
    """Refuses a time in seconds that no answer could keep to."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a {type(timeout).__name__}: give a number of seconds")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout is {timeout}: give a positive number of seconds")
    return timeout


def output_names(granularity: Granularity, embedding: bool) -> list[str]:
    """The outputs to ask for: only those that end up in the prediction."""
    if granularity not in MODELS:
        known = " or ".join(repr(name) for name in MODELS)
        raise ValueError(f"unknown granularity {granularity!r}: use {known}")
    names = ["scores"]
    names += ["embedding"] if embedding else []
    names += ["frame_scores"] if granularity == "frame" else []
    names += ["frame_embedding"] if granularity == "frame" and embedding else []
    return names


def file_tensor(audio: Audio) -> npt.NDArray[np.object_]:
    """A whole file as the one element of a tensor, object [1, 1]."""
    return np.array([[_read(audio)]], dtype=np.object_)


def _read(audio: Audio) -> bytes:
    if isinstance(audio, bytes):
        return audio
    if isinstance(audio, (str, os.PathLike)):
        return Path(audio).read_bytes()
    if not hasattr(audio, "read"):
        raise TypeError(
            f"audio is a {type(audio).__name__}: give a path, bytes or a binary file object"
        )
    data = audio.read()
    if not isinstance(data, bytes):
        raise TypeError(
            f"the file object gives {type(data).__name__} and not bytes: open it in binary mode "
            "('rb')"
        )
    return data


def read_prediction(
    tensors: Mapping[str, FloatArray | None], granularity: Granularity, weights: str
) -> Prediction:
    """Makes a prediction of the server's outputs.

    Args:
        tensors: The outputs by name, float32 [1, ...]; None for one that did not come.
        granularity: What was asked for.
        weights: As the model card says.

    Raises:
        Emotion2VecError: An output is missing, or has not one score per emotion.
    """
    rows: dict[str, FloatArray] = {}
    for name, tensor in tensors.items():
        if tensor is None:
            raise Emotion2VecError(f"the server's answer lacks {name!r}: is it emotion2vec-triton?")
        if name.endswith("scores") and tensor.shape[-1] != len(LABELS):
            raise Emotion2VecError(
                f"the server's {name!r} has shape {list(tensor.shape)} and not {len(LABELS)} "
                "scores: is it emotion2vec-triton?"
            )
        rows[name] = tensor[0]
    frames = None
    if granularity == "frame":
        frames = Frames(
            times=np.arange(len(rows["frame_scores"])) * FRAME_HOP,
            scores=rows["frame_scores"],
            embedding=rows.get("frame_embedding"),
        )
    return Prediction(
        scores=read_only_scores(rows["scores"]),
        granularity=granularity,
        weights=weights,
        embedding=rows.get("embedding"),
        frames=frames,
        timestamp=datetime.now(),
    )


def read_card(text: str, url: str) -> ModelInfo:
    """Reads a model card; ``url`` is for the error.

    Raises:
        Emotion2VecError: The card is missing, or is not what an export writes.
    """
    try:
        card: dict[str, Any] = json.loads(text)
        return ModelInfo(
            checkpoint=card["checkpoint"],
            revision=card["revision"],
            weights=card["weights"],
            precision=card["precision"],
            target=card["target"],
            labels=tuple(card.get("labels", (label.name for label in LABELS))),
            card=card,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Emotion2VecError(
            f"the server at {url} has no model card that can be read: export its model again with "
            f"'make export' ({type(error).__name__}: {error})"
        ) from error


def reason_of(error: InferenceServerException) -> str:
    """The server's own sentence, or gRPC's words when no server answers."""
    # Triton names the model in front of the reason that our backend gives.
    return re.sub(r"^in ensemble '\w+', ", "", str(error.message()))


@contextmanager
def translated(url: str, timeout: float) -> Iterator[None]:
    """Turns the protocol's errors into this library's."""
    try:
        yield
    except InferenceServerException as error:
        reason = reason_of(error)
        status = str(error.status()).rpartition(".")[2]
        if status == "INVALID_ARGUMENT":
            raise InvalidAudioError(reason) from error
        # gRPC's own reasons go on over several lines of where they come from in its source.
        reason = reason.partition("\n")[0]
        if status == "DEADLINE_EXCEEDED":
            raise PredictionTimeoutError(
                f"no answer from {url} in {timeout:g} s: the server may be busy, or the timeout "
                "too short"
            ) from error
        if status in ("UNAVAILABLE", "NOT_FOUND"):
            raise ServerUnavailableError(
                f"no emotion2vec-triton server is ready at {url}: start it with 'make run', or "
                f"check the address, which is host:port of its gRPC ({reason})"
            ) from error
        raise Emotion2VecError(f"the server at {url} failed: {reason}") from error
