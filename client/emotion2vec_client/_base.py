"""Options and state of both clients."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Callable, Optional

from emotion2vec_client import _protocol
from emotion2vec_client._audio import Waveform
from emotion2vec_client._balancing import is_balanced
from emotion2vec_client._endpoint import TLS, Endpoint, parse
from emotion2vec_client._judges import Judges
from emotion2vec_client._protocol import Call
from emotion2vec_client._result import Granularity, ModelInfo
from emotion2vec_client._speakers import check_names
from emotion2vec_client._stream import GATEWAY_PORT, Encoding
from emotion2vec_client.errors import ServerUnavailableError

if TYPE_CHECKING:
    from emotion2vec_client.analysis.head import Head
    from emotion2vec_client.analysis.policy import Policy

OnCall = Optional[Callable[[str], AbstractContextManager[Mapping[str, str]]]]
"""Called with the name of a model for each request to it; gives the request's own headers."""

CARD_SECONDS = 30.0
"""How long a client caches the model card: the server may load another model meanwhile."""

POLL_SECONDS = 0.2
TIMELINE_SECONDS = 3600.0
OUTAGE_SECONDS = 60.0
"""How long `predict_many` waits for a server that is down: a restart takes seconds."""


class BaseClient:
    """Checks the options, turns them into calls, and caches the model card."""

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        timeout: float = 30.0,
        retry_seconds: float = 2.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
        policy: Policy | None = None,
        heads: Mapping[str, Head] | None = None,
        on_call: OnCall = None,
    ) -> None:
        self._endpoint = parse(url, api_key=api_key, headers=headers, tls=tls)
        self.timeout = _protocol.check_timeout(timeout)
        self.retry_seconds = retry_seconds
        self.retries_overload = True
        self.judges = Judges(policy, heads or {})
        self._on_call = on_call
        self._cached: tuple[float, ModelInfo] | None = None
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        """Creates the transport, if that is possible before the first call."""

    @property
    def _info(self) -> ModelInfo | None:
        """The model card, unless it was read too long ago."""
        if self._cached is None:
            return None
        since, info = self._cached
        return info if time.monotonic() - since < CARD_SECONDS else None

    @_info.setter
    def _info(self, info: ModelInfo | None) -> None:
        self._cached = None if info is None else (time.monotonic(), info)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._endpoint.url

    @property
    def is_balanced(self) -> bool:
        """Whether there may be several servers, over which calls are spread."""
        return self._endpoint.is_grpc and is_balanced(self._endpoint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"this client of {self.url} is closed: make a new one")

    def _prediction_call(
        self, granularity: Granularity, embedding: bool, timeout: float | None
    ) -> Call:
        names = _protocol.output_names(granularity, embedding)
        if self.judges.heads and not embedding:
            names.append("embedding")
        seconds = self._seconds(timeout)
        return Call(_protocol.MODELS[granularity], names, seconds, embedding=embedding)

    def _many_call(
        self,
        items: object,
        granularity: Granularity,
        embedding: bool,
        concurrency: int,
        timeout: float | None,
    ) -> Call:
        """As `_prediction_call`, with a longer default: each request waits for earlier ones."""
        check_items(items)
        check_concurrency(concurrency)
        if timeout is None:
            timeout = self.timeout * (1 + concurrency / 4)
        return self._prediction_call(granularity, embedding, timeout)

    @contextmanager
    def _announced(self, call: Call) -> Iterator[Call]:
        """The call with the headers of `on_call`, whose block is as long as this one."""
        if self._on_call is None:
            yield call
        else:
            with self._on_call(call.model) as headers:
                yield dataclasses.replace(call, headers=headers)

    def _waveform_call(self, timeout: float | None) -> Call:
        return Call(_protocol.PREPROCESS, _protocol.WAVEFORM_NAMES, self._seconds(timeout))

    def _stream_parts(
        self,
        rate: int | None,
        encoding: Encoding,
        channels: int,
        mixed: bool,
        names: Sequence[str],
        interval: float,
        granularity: Granularity,
        gateway: str | None,
    ) -> tuple[Endpoint, dict[str, Any]]:
        """The gateway's address, and what to send first."""
        own = self._endpoint
        address = gateway or f"http{'s' if own.is_secure else ''}://{own.host}:{GATEWAY_PORT}"
        endpoint = parse(address, headers=own.headers)
        if endpoint.is_grpc:
            raise ValueError(f"gateway is {gateway!r}: give an address with http:// or https://")
        form: dict[str, Any] = {
            "encoding": encoding,
            "channels": channels,
            "mixed": mixed,
            "interval": interval,
            "granularity": granularity,
        }
        if rate is not None:
            form["rate"] = rate
        if names:
            check_names(names)
            form["names"] = list(names)
        if self.judges.policy is not None:
            form["policy"] = self.judges.policy.content()
        if self.judges.heads:
            raise ValueError("heads cannot be sent to a stream: start the gateway with E2V_HEADS")
        return dataclasses.replace(endpoint, tls=own.tls), form

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else _protocol.check_timeout(timeout)

    def _not_ready(self, timeout: float, obstacle: object) -> ServerUnavailableError:
        return ServerUnavailableError(
            f"the server at {self.url} was not ready after {timeout:g} s: check the address, or "
            f"see the server's console ({obstacle})"
        )


def check_items(items: object) -> None:
    """Refuses one recording instead of several: a path would be iterated letter by letter."""
    if isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike, Waveform)):
        raise TypeError(
            f"items is one recording (a {type(items).__name__}): give a list of them, or call "
            "predict"
        )


def check_concurrency(concurrency: int) -> None:
    """Refuses anything but a positive whole number."""
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"concurrency is {concurrency!r}: give a whole number from 1")
