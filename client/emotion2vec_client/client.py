"""The synchronous client."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Union

import numpy as np
import tritonclient.grpc as kserve
from tritonclient.utils import InferenceServerException

from emotion2vec_client.errors import (
    Emotion2VecError,
    InvalidAudioError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from emotion2vec_client.result import FRAME_HOP, Frames, ModelInfo, Prediction, read_only_scores

Audio = Union[str, "os.PathLike[str]", bytes, BinaryIO]

MODELS = {"utterance": "emotion2vec", "frame": "emotion2vec_frame"}
ENCODER = "encoder"
POLL_SECONDS = 0.2


class Client:
    """A connection to an emotion2vec-triton server over gRPC; safe to share between threads.

    Args:
        url: Host and port of the server's gRPC.
        timeout: Seconds to wait for an answer, unless a call says otherwise.

    Example:
        >>> with Client() as client:
        ...     print(client.predict("happy.wav").emotion)
        happy
    """

    def __init__(self, url: str = "localhost:8001", *, timeout: float = 30.0):
        self.url = url
        self.timeout = timeout
        self._server = kserve.InferenceServerClient(url)
        self._info: ModelInfo | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the client is of no use afterwards."""
        self._server.close()

    def predict(
        self,
        audio: Audio,
        *,
        granularity: str = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
    ) -> Prediction:
        """Recognises the emotion of one clip.

        Args:
            audio: Path, bytes or binary file object of a WAV, MP3, M4A, FLAC or OGG file of 25 ms
                to 30 s and up to 10 MB. The file is sent as it is.
            granularity: ``utterance`` for the whole clip, ``frame`` to have its course as well.
            embedding: Whether to return the embedding too, of each frame in frame granularity.
            timeout: Seconds to wait for the answer; the client's own by default.

        Raises:
            InvalidAudioError: The server cannot use the audio.
            ServerUnavailableError: No server answers, or its model is not ready.
            PredictionTimeoutError: The answer did not come in time.
            ValueError: The granularity is unknown.
            OSError: The file cannot be read.
        """
        if granularity not in MODELS:
            known = " or ".join(MODELS)
            raise ValueError(f"unknown granularity {granularity!r}: use {known}")
        file = kserve.InferInput("audio", [1, 1], "BYTES")
        file.set_data_from_numpy(np.array([[_read(audio)]], dtype=np.object_))
        names = ["scores"]
        names += ["embedding"] if embedding else []
        names += ["frame_scores"] if granularity == "frame" else []
        names += ["frame_embedding"] if granularity == "frame" and embedding else []
        seconds = self.timeout if timeout is None else timeout
        with self._translated(seconds):
            answer = self._server.infer(
                MODELS[granularity],
                [file],
                outputs=[kserve.InferRequestedOutput(name) for name in names],
                client_timeout=seconds,
            )
        arrays = {name: answer.as_numpy(name)[0] for name in names}
        frames = None
        if granularity == "frame":
            rows = len(arrays["frame_scores"])
            frames = Frames(
                times=np.arange(rows, dtype=np.float32) * np.float32(FRAME_HOP),
                scores=arrays["frame_scores"],
                embedding=arrays.get("frame_embedding"),
            )
        return Prediction(
            scores=read_only_scores(arrays["scores"]),
            granularity=granularity,
            weights=self.model_info().weights,
            embedding=arrays.get("embedding"),
            frames=frames,
            timestamp=datetime.now(),
        )

    def model_info(self) -> ModelInfo:
        """The model that the server runs; asked for once, then remembered.

        Raises:
            ServerUnavailableError: No server answers, or its model is not ready.
        """
        if self._info is None:
            with self._translated(self.timeout):
                answer = self._server.get_model_config(ENCODER, client_timeout=self.timeout)
            card = json.loads(answer.config.parameters["model_card"].string_value)
            self._info = ModelInfo(
                checkpoint=card["checkpoint"],
                revision=card["revision"],
                weights=card["weights"],
                precision=card["precision"],
                target=card["target"],
                labels=tuple(card["labels"]),
                card=MappingProxyType(card),
            )
        return self._info

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Blocks until the server can answer predictions.

        Raises:
            ServerUnavailableError: It could not after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise ServerUnavailableError(
                    f"the server at {self.url} was not ready after {timeout:g} s: see its console"
                )
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        try:
            return all(self._server.is_model_ready(name) for name in MODELS.values())
        except InferenceServerException:
            return False

    @contextmanager
    def _translated(self, timeout: float) -> Iterator[None]:
        """Turns the protocol's errors into this library's."""
        try:
            yield
        except InferenceServerException as error:
            # Triton names the model in front of the reason that our backend gives.
            reason = re.sub(r"^in ensemble '\w+', ", "", str(error.message()))
            status = str(error.status()).rpartition(".")[2]
            if status == "INVALID_ARGUMENT":
                raise InvalidAudioError(reason) from error
            if status == "DEADLINE_EXCEEDED":
                raise PredictionTimeoutError(
                    f"no answer from {self.url} in {timeout:g} s: the server may be busy, or the "
                    "timeout too short"
                ) from error
            if status in ("UNAVAILABLE", "NOT_FOUND"):
                raise ServerUnavailableError(
                    f"the server at {self.url} does not answer: start it with `make run`, or "
                    f"check the address ({reason})"
                ) from error
            raise Emotion2VecError(f"the server failed: {reason}") from error


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
        raise TypeError("the file object gives text: open it in binary mode ('rb')")
    return data
