"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from emotion2vec_client import _many, _protocol, _waiting
from emotion2vec_client._audio import Audio, Waveform, file_bytes
from emotion2vec_client._base import OUTAGE_SECONDS, POLL_SECONDS, TIMELINE_SECONDS
from emotion2vec_client._result import Granularity, ModelInfo, Outcome, Prediction
from emotion2vec_client._retry import Outage
from emotion2vec_client._session import Session
from emotion2vec_client._speakers import Channels, Speakers
from emotion2vec_client._stream import Encoding, Stream
from emotion2vec_client._timeline import Segmentation, Timeline
from emotion2vec_client._timeline_call import read_timeline, timeline_call
from emotion2vec_client._waiting import Progress
from emotion2vec_client.errors import Emotion2VecError


class Client(Session):
    """A connection to an emotion2vec-triton server; safe to share between threads.

    It sends nothing before the first call, so you can create it before the server is up.

    Args:
        url: ``host:port`` of the server's gRPC, or an address that starts with ``grpc://``,
            ``grpcs://``, ``http://`` or ``https://``. Calls are spread over several servers if
            the name has several addresses, or if there are several with commas between them.
        timeout: Seconds to wait for a response; a call may override it.
        retry_seconds: How long a call retries while no server answers or the server's queue is
            full. Bad input is never sent twice.
        api_key: Sent as ``Authorization: Bearer …``.
        headers: Sent with every request.
        tls: Certificates, for ``grpcs://`` and ``https://``.
        policy: Judges the nine scores of every answer: see ``Prediction.policy``.
        heads: Judge the embedding of every answer, by name: see ``Prediction.heads``.
        on_call: Called with the model's name for each request to a model, and returns a context
            manager that lasts as long as the request and gives headers for it, such as the
            ``traceparent`` of a span.

    Raises:
        TypeError: The url is not a string, or the timeout is not a number.
        ValueError: The url is not an address, the timeout is not positive, or the certificates
            or headers are unusable.
        FileNotFoundError: A certificate is missing.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     prediction = client.predict("happy.wav")
        >>> print(f"It sounds {prediction.emotion}.")  # doctest: +ELLIPSIS
        It sounds ...
        >>> round(sum(prediction.scores.values()), 3)
        1.0
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; later calls raise RuntimeError."""
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
            audio: Path, bytes or binary file object (read from its current position) of a WAV,
                MP3, M4A, FLAC, OGG or Opus file of 25 ms to 30 s and up to 10 MB, which is sent
                unchanged; an array of samples with its sample rate, ``(samples, sample_rate)``,
                which is sent as WAV; or the `Waveform` that `decode` returned.
            granularity: ``utterance`` for the whole clip; ``frame`` adds scores for each frame.
            embedding: Whether to return the embedding too; ``frame`` adds one for each frame.
            timeout: Seconds to wait for the response; the client's own by default.

        Returns:
            The nine scores, with the embedding [D] and frames [T, ...] if requested.

        Raises:
            InvalidAudioError: The server cannot use the audio.
            ServerUnavailableError: No server answers, or its model is not ready.
            OverloadedError: The server's queue is full.
            PredictionTimeoutError: The response did not come in time.
            AccessDeniedError: The API key is not accepted.
            WrongAddressError: The address is the gateway's, or the port is wrong.
            Emotion2VecError: The server failed in any other way.
            ValueError: The granularity is unknown, the timeout is not positive, or the samples
                are unusable.
            TypeError: The audio is none of the above, or the timeout is not a number.
            OSError: The file cannot be read; FileNotFoundError if it does not exist.
        """
        call = self._prediction_call(granularity, embedding, timeout)
        return self._predict(_readable(audio), call, Outage(self.retry_seconds))

    def decode(self, audio: Audio, *, timeout: float | None = None) -> Waveform:
        """Returns the clip as the model hears it: decoded and resampled, mono at 16 kHz.

        ``predict(waveform)`` gives the same result as the file, without decoding it again. The
        errors are those of `predict`.

        Args:
            audio: As for `predict`.
            timeout: Seconds to wait for the response; the client's own by default.
        """
        call = self._waveform_call(timeout).of(file_bytes(audio))

        def attempt() -> Waveform:
            with self._announced(call) as announced:
                tensors = self._transport.infer(announced)
            return _protocol.read_waveform(tensors)

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
        channels: Channels = "mixed",
        speakers: Speakers = 1,
        names: Sequence[str] = (),
        embedding: bool = False,
        progress: Progress = None,
        timeout: float = TIMELINE_SECONDS,
    ) -> Timeline:
        """Recognises emotion over time in a recording of up to two hours and 200 MB.

        Args:
            audio: As for `predict`.
            segmentation: ``vad`` cuts speech at pauses and omits the rest; ``fixed`` cuts windows
                of equal length.
            min_segment: For ``vad``: shorter segments join the next; in seconds, 1 by default.
            max_segment: For ``vad``: longest segment in seconds; 10 by default, at most 30.
            window: For ``fixed``: length of a window in seconds; 3 by default, at most 30.
            hop: For ``fixed``: seconds between the starts of two windows; the window by default.
            channels: ``mixed`` hears the mean of all channels; ``separate`` hears each as a
                speaker.
            speakers: How many voices to tell apart, up to 8, or ``auto``; 1 tells none apart.
            names: Of the speakers: by channel, or in the order of their first words.
            embedding: Whether to return the embedding of each segment too.
            progress: Called about twice a second, in this thread, with the finished share, from 0
                to 1; an exception that it raises cancels the work and reaches the caller.
            timeout: Seconds to wait for the response; an hour by default.

        Returns:
            Segments with their scores, and a summary; no segments if there is no speech.

        Raises:
            InvalidAudioError: The server cannot use the audio, or the value of an option; the
                reason is then ``bad_request``.
            ValueError: An option belongs to the other segmentation, or two exclude each other.
            Emotion2VecError: As for `predict`, like all other errors.

        Example:
            >>> with Client("localhost:8001") as client:
            ...     timeline = client.timeline("story.ogg")
            >>> [segment.end > segment.start for segment in timeline.segments]
            [True, True]
        """
        data = file_bytes(audio)
        call = timeline_call(
            timeout,
            segmentation,
            channels,
            speakers,
            names,
            embedding,
            self.judges,
            min_segment=min_segment,
            max_segment=max_segment,
            window=window,
            hop=hop,
        ).of(data)

        def attempt() -> Timeline:
            info = self._card(timeout)
            with self._announced(call) as announced:
                tensors = _waiting.run(self._transport, announced, progress)
            return read_timeline(tensors, call, info, self.judges)

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
        """Recognises many clips, several at once, so that the server can batch them.

        Memory does not grow with their number: the client reads items only when it can send them,
        and yields outcomes as they are ready. It waits up to a minute for a server that restarts.

        Args:
            items: Clips, each in any form that `predict` accepts.
            granularity: As for `predict`.
            embedding: As for `predict`.
            concurrency: Requests in flight.
            ordered: Whether outcomes come in the order of the items, or as they are ready.
            timeout: Seconds to wait for each response; by default the client's own, plus a quarter
                of it for each request in flight, because requests wait for earlier ones.

        Returns:
            An outcome for each item: its prediction or its error.

        Raises:
            ValueError: The granularity, concurrency or timeout is invalid.
            TypeError: ``items`` is one recording.

        Example:
            >>> with Client("localhost:8001") as client:
            ...     for outcome in client.predict_many(["happy.wav", "missing.wav"]):
            ...         print(outcome.item, "failed" if outcome.error else "answered")
            happy.wav answered
            missing.wav failed
        """
        call = self._many_call(items, granularity, embedding, concurrency, timeout)
        outage = Outage(OUTAGE_SECONDS)

        def attempt(item: Audio) -> Outcome[Audio]:
            try:
                return Outcome(item, self._predict(_readable(item), call, outage), None)
            except (Emotion2VecError, OSError, TypeError, ValueError) as error:
                return Outcome(item, None, error)

        return _many.stream(items, attempt, concurrency, ordered)

    def stream(
        self,
        *,
        rate: int | None = None,
        encoding: Encoding = "s16le",
        channels: int = 1,
        mixed: bool = False,
        names: Sequence[str] = (),
        interval: float = 1.5,
        granularity: Granularity = "utterance",
        gateway: str | None = None,
    ) -> Stream:
        """Streams audio while someone speaks; needs the extra `stream`.

        Args:
            rate: Samples per second, 8000 to 48000; by default 16000, and 8000 for mu-law and
                A-law.
            encoding: Of the bytes that are sent: ``s16le``, ``mulaw`` or ``alaw``.
            channels: 1, or 2 interleaved ones; each is a speaker.
            mixed: Whether the channels are one speaker: their mean is heard, as in a file.
            names: Of the two speakers, by channel; left and right by default.
            interval: Seconds of speech between interim measurements; 0 for none.
            granularity: As for `predict`.
            gateway: Its address; by default port 7860 of the machine with Triton.

        Returns:
            A context manager. In its block, send audio, and iterate over the measurements.

        Raises:
            ValueError: The address is not one of a gateway, or the client has heads.

        Example:
            >>> with Client("localhost:8001") as client, client.stream(rate=16000) as stream:
            ...     stream.send(bytes(32000))  # a second of silence
            ...     stream.finish()
            ...     for measurement in stream:
            ...         print(measurement.start, measurement.unwrap().emotion)
        """
        return Stream(
            *self._stream_parts(
                rate, encoding, channels, mixed, names, interval, granularity, gateway
            )
        )

    def model_info(self) -> ModelInfo:
        """Describes the model that the server runs; cached for half a minute.

        Raises:
            ServerUnavailableError: No server answers, or its model is not ready.
            PredictionTimeoutError: The response did not come in time.
            WrongAddressError: Another service answers at the address.
            Emotion2VecError: The server has no readable model card.
        """
        return self._retried(lambda: self._card(self.timeout), Outage(self.retry_seconds))

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Blocks until the model is ready to predict; the server itself may be up earlier.

        Args:
            timeout: Longest wait in seconds.

        Raises:
            ServerUnavailableError: The model was not ready in time.
            WrongAddressError: Another service answers at the address.
            ValueError: The timeout is not positive.
            TypeError: The timeout is not a number.
        """
        self._check_open()
        deadline = time.monotonic() + _protocol.check_timeout(timeout)
        while (obstacle := self._obstacle(deadline - time.monotonic())) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._not_ready(timeout, obstacle)
            time.sleep(min(POLL_SECONDS, left))


def _readable(audio: Audio) -> bytes | Waveform:
    return audio if isinstance(audio, Waveform) else file_bytes(audio)
