"""What the synchronous and the asynchronous client have in common."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from emotion2vec_client import endpoint, protocol
from emotion2vec_client.audio import Waveform
from emotion2vec_client.endpoint import TLS
from emotion2vec_client.errors import ServerUnavailableError
from emotion2vec_client.protocol import Call
from emotion2vec_client.result import Granularity, ModelInfo
from emotion2vec_client.timeline import Segmentation, check_options

CARD_SECONDS = 30.0
"""For how long a model card is remembered: the server may load another model meanwhile."""

POLL_SECONDS = 0.2
POLL_TIMEOUT = 5.0
TIMELINE_SECONDS = 3600.0
OUTAGE_SECONDS = 60.0
"""How long `predict_many` waits for a server that has gone: a restart takes seconds."""


@dataclass(frozen=True)
class Request:
    """One prediction, checked.

    Attributes:
        granularity: ``utterance`` or ``frame``.
        names: The outputs to ask for.
        timeout: Seconds for the answer.
    """

    granularity: Granularity
    names: list[str]
    timeout: float

    @property
    def model(self) -> str:
        """The model that answers it."""
        return protocol.MODELS[self.granularity]


@dataclass(frozen=True)
class Question:
    """What is sent for one prediction.

    Attributes:
        model: The model asked.
        inputs: Its inputs.
        names: Outputs to ask for.
        known: Outputs that need not be asked for.
    """

    model: str
    inputs: protocol.Tensors
    names: list[str]
    known: protocol.Tensors


def question(audio: bytes | Waveform, request: Request) -> Question:
    """A file goes to the ensemble; what has been decoded before goes on to the encoder."""
    if isinstance(audio, bytes):
        return Question(request.model, protocol.file_inputs(audio), request.names, {})
    names = [name for name in request.names if name not in audio.inputs]
    known = {name: audio.inputs[name] for name in request.names if name in audio.inputs}
    return Question(protocol.ENCODER, audio.inputs, names, known)


@dataclass(frozen=True)
class TimelineRequest:
    """One timeline.

    Attributes:
        call: What is sent.
        segmentation: ``vad`` or ``fixed``.
    """

    call: Call
    segmentation: Segmentation

    def question(self, kind: str) -> Call:
        """A call about this one: ``progress_of`` it, or ``cancel`` it."""
        asked = {kind: self.call.id}
        return Call(
            protocol.TIMELINE,
            protocol.file_inputs(b""),
            ["progress"],
            POLL_TIMEOUT,
            parameters=asked,
        )


class BaseClient:
    """Settings and the remembered model card."""

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        timeout: float = 30.0,
        retry_seconds: float = 2.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
    ) -> None:
        self._endpoint = endpoint.parse(url, api_key=api_key, headers=headers, tls=tls)
        self.timeout = protocol.check_timeout(timeout)
        self.retry_seconds = retry_seconds
        self._remembered: tuple[float, ModelInfo] | None = None
        self._closed = False

    @property
    def _info(self) -> ModelInfo | None:
        """The model card, unless it was read too long ago."""
        if self._remembered is None:
            return None
        since, info = self._remembered
        return info if time.monotonic() - since < CARD_SECONDS else None

    @_info.setter
    def _info(self, info: ModelInfo | None) -> None:
        self._remembered = None if info is None else (time.monotonic(), info)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._endpoint.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"this client of {self.url} is closed: make a new one")

    def _request(self, granularity: Granularity, embedding: bool, timeout: float | None) -> Request:
        return Request(
            granularity,
            protocol.output_names(granularity, embedding),
            self._seconds(timeout),
        )

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else protocol.check_timeout(timeout)

    def _timeline_request(
        self,
        data: bytes,
        segmentation: Segmentation,
        seconds: Mapping[str, float | None],
        embedding: bool,
        timeout: float,
    ) -> TimelineRequest:
        check_options(segmentation, seconds)
        # What is not given is left to the server.
        parameters = {name: str(value) for name, value in seconds.items() if value is not None}
        call = Call(
            model=protocol.TIMELINE,
            inputs=protocol.file_inputs(data),
            names=protocol.timeline_names(embedding),
            timeout=protocol.check_timeout(timeout),
            id=uuid.uuid4().hex,
            parameters={"segmentation": str(segmentation), **parameters},
        )
        return TimelineRequest(call, segmentation)

    def _request_of_many(
        self,
        granularity: Granularity,
        embedding: bool,
        concurrency: int,
        timeout: float | None,
    ) -> Request:
        """As `_request`, with more time by default: each waits for those sent before it."""
        check_concurrency(concurrency)
        if timeout is None:
            timeout = self.timeout * (1 + concurrency / 4)
        return self._request(granularity, embedding, timeout)

    def _not_ready(self, timeout: float, obstacle: object) -> ServerUnavailableError:
        return ServerUnavailableError(
            f"the server at {self.url} was not ready after {timeout:g} s: check the address, or "
            f"see the server's console ({obstacle})"
        )


def check_items(items: object) -> None:
    """Refuses one recording where many are meant: a path would be taken letter by letter."""
    if isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike, Waveform)):
        raise TypeError(
            f"items is one recording (a {type(items).__name__}): give a list of them, or call "
            "predict"
        )


def check_concurrency(concurrency: int) -> int:
    """Refuses a number of calls that cannot be in flight."""
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"concurrency is {concurrency!r}: give a whole number from 1")
    return concurrency
