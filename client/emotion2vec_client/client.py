"""The synchronous client."""

from __future__ import annotations

import time
from types import TracebackType

import tritonclient.grpc as kserve
from tritonclient.utils import InferenceServerException

from emotion2vec_client import protocol
from emotion2vec_client.errors import ServerUnavailableError
from emotion2vec_client.protocol import Audio
from emotion2vec_client.result import Granularity, ModelInfo, Prediction

POLL_SECONDS = 0.2
POLL_TIMEOUT = 5.0
CHANNEL_ARGS = [
    # gRPC's own limit is 4 MB; the frame embeddings of 30 s are 6 MB, and a file is up to 10 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default gRPC waits ever longer, up to two minutes, before it tries a server again that was
    # not there: a server that has just started would go unnoticed for as long.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Client:
    """A connection to an emotion2vec-triton server over gRPC; safe to share between threads.

    Nothing is sent before the first call, so a client may be made before its server is up.

    Args:
        url: Host and port of the server's gRPC, without ``http://``.
        timeout: Seconds that a call may take, unless it is given its own.

    Raises:
        TypeError: The url is not a string, or the timeout not a number.
        ValueError: The url is empty, or the timeout not positive.

    Example:
        >>> with Client() as client:
        ...     print(client.predict("happy.wav").emotion)
        happy
    """

    def __init__(self, url: str = "localhost:8001", *, timeout: float = 30.0) -> None:
        self.url = protocol.check_url(url)
        self.timeout = protocol.check_timeout(timeout)
        self._server = kserve.InferenceServerClient(url, channel_args=CHANNEL_ARGS)
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
        granularity: Granularity = "utterance",
        embedding: bool = False,
        timeout: float | None = None,
    ) -> Prediction:
        """Recognises the emotion of one clip.

        Args:
            audio: Path, bytes or binary file object (read from where it stands) of a WAV, MP3,
                M4A, FLAC, OGG or Opus file of 25 ms to 30 s and up to 10 MB. The file is sent as
                it is.
            granularity: ``utterance`` for the whole clip, ``frame`` to have its course as well.
            embedding: Whether to return the embedding too, of each frame in frame granularity.
            timeout: Seconds that the call may take; the client's own by default.

        Returns:
            The nine scores, and the embedding [D] and frames [T, ...] that were asked for.

        Raises:
            InvalidAudioError: The server cannot use the audio.
            ServerUnavailableError: No server answers, or its model is not ready.
            PredictionTimeoutError: The answer did not come in time.
            Emotion2VecError: The server failed in any other way.
            ValueError: The granularity is unknown, or the timeout not positive.
            TypeError: The audio is none of the three, or the timeout not a number.
            OSError: The file cannot be read; FileNotFoundError when there is none.
        """
        names = protocol.output_names(granularity, embedding)
        seconds = self.timeout if timeout is None else protocol.check_timeout(timeout)
        file = kserve.InferInput("audio", [1, 1], "BYTES")
        file.set_data_from_numpy(protocol.file_tensor(audio))
        deadline = time.monotonic() + seconds
        info = self._model_info(seconds)
        with protocol.translated(self.url, seconds):
            answer = self._server.infer(
                protocol.MODELS[granularity],
                [file],
                outputs=[kserve.InferRequestedOutput(name) for name in names],
                # The first call has spent part of its time on the model card.
                client_timeout=max(deadline - time.monotonic(), 0.0),
            )
        tensors = {name: answer.as_numpy(name) for name in names}
        return protocol.read_prediction(tensors, granularity, info.weights)

    def model_info(self) -> ModelInfo:
        """The model that the server runs; asked for once, then remembered.

        Raises:
            ServerUnavailableError: No server answers, or its model is not ready.
            PredictionTimeoutError: The answer did not come in time.
            Emotion2VecError: The server has no model card that can be read.
        """
        return self._model_info(self.timeout)

    def _model_info(self, seconds: float) -> ModelInfo:
        if self._info is None:
            with protocol.translated(self.url, seconds):
                answer = self._server.get_model_config(protocol.ENCODER, client_timeout=seconds)
            card = answer.config.parameters["model_card"].string_value
            self._info = protocol.read_card(card, self.url)
        return self._info

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Blocks until the model is ready to predict, which comes later than its server.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ServerUnavailableError: The model was not ready in time.
            ValueError: The timeout is not positive.
            TypeError: The timeout is not a number.
        """
        deadline = time.monotonic() + protocol.check_timeout(timeout)
        while True:
            obstacle = self._obstacle(deadline - time.monotonic())
            if obstacle is None:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise ServerUnavailableError(
                    f"the server at {self.url} was not ready after {timeout:g} s: check the "
                    f"address, or see the server's console ({obstacle})"
                )
            time.sleep(min(POLL_SECONDS, left))

    def _obstacle(self, left: float) -> str | None:
        """What keeps the model from predicting, None when nothing does."""
        model = protocol.MODELS["utterance"]
        try:
            # A server that accepts and then stays silent must not hold up the next attempt.
            patience = min(max(left, 0.0), POLL_TIMEOUT)
            ready = self._server.is_model_ready(model, client_timeout=patience)
        except InferenceServerException as error:
            return protocol.reason_of(error).partition("\n")[0]
        return None if ready else f"model {model} is not ready"
