"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Callable, TypeVar

from emotion2vec_client import many, protocol, waiting
from emotion2vec_client.audio import Audio, Waveform, file_bytes
from emotion2vec_client.base import (
    OUTAGE_SECONDS,
    POLL_SECONDS,
    POLL_TIMEOUT,
    TIMELINE_SECONDS,
    BaseClient,
    Request,
    check_items,
    question,
)
from emotion2vec_client.endpoint import TLS
from emotion2vec_client.errors import (
    Emotion2VecError,
    PredictionTimeoutError,
    ServerUnavailableError,
    WrongAddressError,
)
from emotion2vec_client.grpc_transport import GrpcTransport
from emotion2vec_client.http_transport import HttpTransport
from emotion2vec_client.protocol import Call
from emotion2vec_client.result import Granularity, ModelInfo, Outcome, Prediction
from emotion2vec_client.retry import Outage
from emotion2vec_client.timeline import Segmentation, Timeline
from emotion2vec_client.waiting import Progress

Value = TypeVar("Value")


class Client(BaseClient):
    """A connection to an emotion2vec-triton server; safe to share between threads.

    Nothing is sent before the first call, so a client may be made before its server is up.

    Args:
        url: ``host:port`` of the server's gRPC, or with ``grpc://``, ``grpcs://``, ``http://`` or
            ``https://`` before it.
        timeout: Seconds to wait for an answer, unless a call says otherwise.
        retry_seconds: For how long a call is tried again while no server answers or its queue is
            full. Bad input is never sent twice.
        api_key: Sent as ``Authorization: Bearer …``.
        headers: Sent with every call.
        tls: Certificates, for ``grpcs://`` and ``https://``.

    Raises:
        TypeError: The url is not a string, or the timeout not a number.
        ValueError: The url is not an address, or the timeout not positive.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     prediction = client.predict("happy.wav")
        >>> print(f"It sounds {prediction.emotion}.")  # doctest: +ELLIPSIS
        It sounds ...
        >>> round(sum(prediction.scores.values()), 3)
        1.0
    """

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
        super().__init__(
            url,
            timeout=timeout,
            retry_seconds=retry_seconds,
            api_key=api_key,
            headers=headers,
            tls=tls,
        )
        self._transport: GrpcTransport | HttpTransport = (
            GrpcTransport(self._endpoint)
            if self._endpoint.is_grpc
            else HttpTransport(self._endpoint)
        )

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
        """Closes the connection; what is asked afterwards raises RuntimeError."""
        self._closed = True
        self._transport.close()

    def predict(
        self,
        audio: Audio,
        *,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
    ) -> Prediction:
        """Recognises the emotion of one clip.

        Args:
            audio: Path, bytes or binary file object (read from where it stands) of a WAV, MP3,
                M4A, FLAC, OGG or Opus file of 25 ms to 30 s and up to 10 MB, which is sent as it
                is; samples and sample rate, which are sent as WAV (`audio.wav_bytes`); or what
                `decode` gave.
            granularity: ``utterance`` for the whole clip, ``frame`` to have its course as well.
            embedding: Whether to return the embedding too, of each frame in frame granularity.
            timeout: Seconds to wait for the answer; the client's own by default.

        Returns:
            The nine scores, and the embedding [D] and frames [T, ...] that were asked for.

        Raises:
            InvalidAudioError: The server cannot use the audio.
            ServerUnavailableError: No server answers, or its model is not ready.
            OverloadedError: The server's queue is full.
            PredictionTimeoutError: The answer did not come in time.
            AccessDeniedError: The API key is not accepted.
            WrongAddressError: The address is the gateway's, or of another port than was meant.
            Emotion2VecError: The server failed in any other way.
            ValueError: The granularity is unknown, the timeout not positive, or samples have no
                clear meaning.
            TypeError: The audio is none of the above, or the timeout not a number.
            OSError: The file cannot be read; FileNotFoundError when there is none.
        """
        request = self._request(granularity, embedding, timeout)
        return self._predict(_readable(audio), request, Outage(self.retry_seconds))

    def decode(self, audio: Audio, *, timeout: float | None = None) -> Waveform:
        """The clip as the model hears it: decoded and resampled, mono at 16 kHz.

        ``predict(waveform)`` gives the same answer as the file itself, without decoding it again.

        Args:
            audio: As for `predict`, and so are the errors.
            timeout: Seconds to wait for the answer; the client's own by default.
        """
        seconds = self._seconds(timeout)
        inputs = protocol.file_inputs(file_bytes(audio))

        def attempt() -> Waveform:
            call = Call(protocol.PREPROCESS, inputs, protocol.WAVEFORM_NAMES, seconds)
            return protocol.read_waveform(self._transport.infer(call))

        return self._retried(attempt, Outage(self.retry_seconds))

    def timeline(
        self,
        audio: Audio,
        *,
        segmentation: Segmentation = "vad",
        min_segment: float | None = None,
        max_segment: float | None = None,
        window: float | None = None,
        hop: float | None = None,
        embedding: bool = False,
        progress: Progress = None,
        timeout: float = TIMELINE_SECONDS,
    ) -> Timeline:
        """Recognises the course of emotion through a recording of up to two hours and 200 MB.

        Args:
            audio: As for `predict`.
            segmentation: ``vad`` cuts speech at its pauses and leaves the rest out; ``fixed`` cuts
                windows of equal length.
            min_segment: For ``vad``: seconds under which a segment joins its neighbour; 1 by
                default.
            max_segment: For ``vad``: seconds of the longest segment; 10 by default, up to 30.
            window: For ``fixed``: seconds to a window; 3 by default, up to 30.
            hop: For ``fixed``: seconds from one window's start to the next one's; by default the
                window.
            embedding: Whether to return the embedding of each segment too.
            progress: Called about twice a second, in this thread, with the share that is answered,
                from 0 to 1; what it raises cancels the work and goes on to the caller.
            timeout: Seconds to wait for the answer; an hour by default.

        Returns:
            Segments with their scores, and a summary; without segments where there is no speech.

        Raises:
            InvalidAudioError: The server cannot use the audio, or the number of an option; the
                reason is then ``bad_request``.
            ValueError: An option belongs to the other segmentation.
            Emotion2VecError: As for `predict`, and so are the other errors.

        Example:
            >>> with Client("localhost:8001") as client:
            ...     timeline = client.timeline("story.ogg")
            >>> [segment.end > segment.start for segment in timeline.segments]
            [True, True]
        """
        seconds = {
            "min_segment": min_segment,
            "max_segment": max_segment,
            "window": window,
            "hop": hop,
        }
        data = file_bytes(audio)
        request = self._timeline_request(data, segmentation, seconds, embedding, timeout)

        def attempt() -> Timeline:
            info = self._card(timeout)
            tensors = waiting.run(self._transport, request, progress)
            return protocol.read_timeline(tensors, segmentation, info)

        return self._retried(attempt, Outage(self.retry_seconds))

    def predict_many(
        self,
        items: Iterable[Audio],
        *,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        concurrency: int = 16,
        ordered: bool = True,
        timeout: float | None = None,
    ) -> Iterator[Outcome[Audio]]:
        """Recognises many clips, so many at once that the server can batch them.

        Memory does not grow with their number: items are taken as there is room, and outcomes
        given out as they are ready. A server that restarts in between is waited for, up to a
        minute.

        Args:
            items: Whatever `predict` takes, from any iterable.
            granularity: As for `predict`.
            embedding: As for `predict`.
            concurrency: Requests in flight.
            ordered: Whether outcomes come in the order of the items, or as they are ready.
            timeout: Seconds to wait for each answer; by default the client's own and a quarter more
                for each in flight, since an answer waits for those before it.

        Returns:
            An outcome for each item: its prediction, or the error that it met.

        Raises:
            ValueError: The granularity, concurrency or timeout cannot be used.
            TypeError: ``items`` is one recording.

        Example:
            >>> with Client("localhost:8001") as client:
            ...     for outcome in client.predict_many(["happy.wav", "missing.wav"]):
            ...         print(outcome.item, "failed" if outcome.error else "answered")
            happy.wav answered
            missing.wav failed
        """
        check_items(items)
        request = self._request_of_many(granularity, embedding, concurrency, timeout)
        outage = Outage(OUTAGE_SECONDS)

        def attempt(item: Audio) -> Outcome[Audio]:
            try:
                return Outcome(item, self._predict(_readable(item), request, outage), None)
            except (Emotion2VecError, OSError, TypeError, ValueError) as error:
                return Outcome(item, None, error)

        return many.stream(items, attempt, concurrency, ordered)

    def model_info(self) -> ModelInfo:
        """The model that the server runs; remembered for half a minute.

        Raises:
            ServerUnavailableError: No server answers, or its model is not ready.
            PredictionTimeoutError: The answer did not come in time.
            WrongAddressError: Something else answers at the address.
            Emotion2VecError: The server has no model card that can be read.
        """
        return self._retried(lambda: self._card(self.timeout), Outage(self.retry_seconds))

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Blocks until the model is ready to predict, which comes later than its server.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ServerUnavailableError: The model was not ready in time.
            WrongAddressError: Something else answers at the address.
            ValueError: The timeout is not positive.
            TypeError: The timeout is not a number.
        """
        self._check_open()
        deadline = time.monotonic() + protocol.check_timeout(timeout)
        while (obstacle := self._obstacle(deadline - time.monotonic())) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._not_ready(timeout, obstacle)
            time.sleep(min(POLL_SECONDS, left))

    def _obstacle(self, left: float) -> object:
        """What keeps the models from predicting, None when nothing does."""
        # A server that accepts and then stays silent must not hold up the next attempt.
        patience = min(max(left, 0.01), POLL_TIMEOUT)
        try:
            for model in protocol.MODELS.values():
                if not self._transport.is_ready(model, patience):
                    return f"model {model} is not ready"
            # Triton's metrics and other web servers say yes to any question but this.
            self._card(patience)
        except WrongAddressError:
            # Waiting does not change the address.
            raise
        except Emotion2VecError as error:
            return error
        return None

    def _predict(self, audio: bytes | Waveform, request: Request, outage: Outage) -> Prediction:
        asked = question(audio, request)

        def attempt() -> Prediction:
            started = time.monotonic()
            info = self._card(request.timeout)
            # The first call has spent part of its time on the model card.
            left = max(request.timeout - (time.monotonic() - started), 0.001)
            try:
                call = Call(asked.model, asked.inputs, asked.names, left)
                tensors = self._transport.infer(call)
            except PredictionTimeoutError as error:
                # What was left of the time is not what the user asked for.
                raise protocol.timed_out(self.url, request.timeout) from error
            return protocol.read_prediction({**tensors, **asked.known}, request.granularity, info)

        return self._retried(attempt, outage)

    def _retried(self, attempt: Callable[[], Value], outage: Outage) -> Value:
        attempts = 0
        while True:
            self._check_open()
            try:
                value = attempt()
            except ServerUnavailableError as error:
                # The server that comes back may run another model.
                self._info = None
                time.sleep(outage.delay(attempts, error))
                attempts += 1
            except Emotion2VecError:
                outage.over()
                raise
            else:
                outage.over()
                return value

    def _card(self, timeout: float) -> ModelInfo:
        info = self._info
        if info is None:
            info = self._info = protocol.read_card(self._transport.card(timeout), self.url)
        return info


def _readable(audio: Audio) -> bytes | Waveform:
    return audio if isinstance(audio, Waveform) else file_bytes(audio)
