"""Triton's Python backend for timelines: a recording in, its segments out.

A request is taken at once and answered from a thread of its own, so that several recordings are
worked on at a time, and a request may ask how far another one is.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from audio.layout import SAMPLE_RATE, lay_out
from audio.limits import AudioError, Limits
from audio.options import Options
from audio.recording import Answer, BusyError, Cancelled, Encoder, Recording
from audio.sandbox import Decoder

ENCODER_THREADS = 8
"""Pieces that wait for the encoder at once: as many as it takes in a batch, and in the next one."""

SHM = "/dev/shm"
ROOM_SECONDS = 5
"""How long an answer waits for room in shared memory."""

NOTHING = Recording(Options(), False, lambda: False)
"""What there is of a recording that is not there."""

TYPES = {"segments": np.float64, "duration": np.float64}


class EncoderError(Exception):
    """The encoder failed; the message is its own."""


class OverloadedError(Exception):
    """There are too many recordings already."""


class NoRoomError(Exception):
    """Shared memory is too full for an answer."""


class TritonPythonModel:
    """Answers recordings, and questions about them."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the limits from config.pbtxt."""
        parameters = json.loads(args["model_config"])["parameters"]
        values = {name: parameter["string_value"] for name, parameter in parameters.items()}
        self.limits = Limits.read(parameters)
        self.at_once, self.waiting = int(values["max_recordings"]), int(values["max_waiting"])
        self.own = threading.local()
        self.workers = ThreadPoolExecutor(
            self.at_once, "recording", initializer=self._start_decoder
        )
        waiters = ThreadPoolExecutor(ENCODER_THREADS, "encoder")
        self.encoder = Encoder(encode, waiters, float(values["max_seconds_in_flight"]))
        self.recordings: dict[str, Recording] = {}

    def execute(self, requests: list[Any]) -> list[None]:
        """Takes requests; each is answered through its own sender."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._take(request, sender)
            except (AudioError, OverloadedError) as error:
                send(sender, refusal(error))
        return [None] * len(requests)

    def finalize(self) -> None:
        """Stops all work."""
        for recording in list(self.recordings.values()):
            recording.cancelled.set()
        self.workers.shutdown()

    def _take(self, request: Any, sender: Any) -> None:
        names = request.requested_output_names()
        parameters = json.loads(request.parameters())
        for question in ("progress_of", "cancel"):
            if question in parameters:
                # One that is not known has not arrived yet, or is over: there is nothing of it.
                other = self.recordings.get(parameters[question], NOTHING)
                if question == "cancel":
                    other.cancelled.set()
                send(sender, answer(other, names))
                return
        options = Options.read(parameters)
        if len(self.recordings) >= self.at_once + self.waiting:
            raise OverloadedError(
                f"{self.at_once} recordings are worked on and {self.waiting} wait, which is the "
                "maximum queue size: send this one later"
            )
        recording = Recording(options, "embedding" in names, sender.is_cancelled)
        key = request.request_id() or uuid.uuid4().hex
        self.recordings[key] = recording
        # Handed over in a list that is emptied, so that the file is not kept for as long as the
        # work lasts.
        files = [pb_utils.get_input_tensor_by_name(request, "audio").as_numpy()[0, 0]]
        work = self.workers.submit(self._work, recording, files, names)
        work.add_done_callback(lambda done: self._finish(key, done, sender))

    def _start_decoder(self) -> None:
        """Each worker keeps one: its start takes as long as a short recording."""
        self.own.decoder = Decoder(self.limits)

    def _work(self, recording: Recording, files: list[bytes], names: Iterable[str]) -> Any:
        recording.run(self.own.decoder.stream(files.pop()), self.encoder)
        found = answer(recording, names)
        wait_for_room(found)
        return found

    def _finish(self, key: str, done: Future[Any], sender: Any) -> None:
        del self.recordings[key]
        error = done.exception()
        send(sender, done.result() if error is None else refusal(error))


def encode(samples: np.ndarray, embedding: bool) -> Answer:
    """Asks the encoder about one piece, float32 [n] at 16 kHz."""
    waveform, frames = lay_out(samples)
    names = ["scores", "embedding"] if embedding else ["scores"]
    response = pb_utils.InferenceRequest(
        model_name="encoder",
        requested_output_names=names,
        inputs=[
            pb_utils.Tensor("waveform", waveform[np.newaxis]),
            pb_utils.Tensor("num_samples", np.array([[len(samples)]], np.int32)),
            pb_utils.Tensor("frames", frames[np.newaxis]),
        ],
    ).exec()
    if response.has_error():
        if response.error().code() == pb_utils.TritonError.UNAVAILABLE:
            raise BusyError
        raise EncoderError(f"the encoder failed: {response.error().message()}")
    rows = [
        pb_utils.get_output_tensor_by_name(response, name).as_numpy()[0].copy() for name in names
    ]
    return Answer(rows[0], rows[1] if embedding else None)


def answer(recording: Recording, names: Iterable[str]) -> Any:
    """The outputs for what a recording has so far."""
    progress = recording.progress
    segments = list(recording.segments)
    pieces = [segment.piece for segment in segments]
    embeddings = [segment.answer.embedding for segment in segments]
    tensors = {
        "segments": rows([[piece.start, piece.end] for piece in pieces], 2) / SAMPLE_RATE,
        "scores": rows([segment.answer.scores for segment in segments], 9),
        "embedding": rows([row for row in embeddings if row is not None], 0),
        "speech": np.array([piece.speech / (piece.end - piece.start) for piece in pieces]),
        "speech_ratio": np.array([recording.speech_ratio]),
        "duration": np.array([recording.duration]),
        "peaks": recording.peaks,
        "progress": np.array([progress]),
    }
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor(name, tensors[name][np.newaxis].astype(TYPES.get(name, np.float32)))
            for name in names
        ]
    )


def wait_for_room(response: Any) -> None:
    """Waits until shared memory has room for an answer, which may be large.

    A sender whose response finds none can never answer its request, so it is not tried.

    Raises:
        NoRoomError: There is none within ROOM_SECONDS.
    """
    size = sum(tensor.as_numpy().nbytes for tensor in response.output_tensors())
    deadline = time.monotonic() + ROOM_SECONDS
    while True:
        room = os.statvfs(SHM)
        # Other models take of it meanwhile.
        if room.f_bavail * room.f_frsize >= 2 * size + 2**20:
            return
        if time.monotonic() > deadline:
            raise NoRoomError(
                f"{SHM} has no room for an answer of {size / 2**20:.1f} MB: make it larger, or see "
                "what fills it, and send this recording again"
            )
        time.sleep(0.1)


def rows(values: list[Any], width: int) -> np.ndarray:
    """[N, width], also where N is 0."""
    return np.array(values) if values else np.zeros((0, width))


def refusal(error: BaseException) -> Any:
    """The answer that a request ends with when it fails."""
    codes = pb_utils.TritonError
    if isinstance(error, AudioError):
        # The reason first, for clients that branch on it; the sentence after it is for people.
        refused = codes(f"{error.reason}: {error}", codes.INVALID_ARG)
    elif isinstance(error, OverloadedError):
        refused = codes(str(error), codes.UNAVAILABLE)
    elif isinstance(error, Cancelled):
        refused = codes("the request was cancelled", codes.CANCELLED)
    elif isinstance(error, EncoderError):
        # Under load its queue's time limit ends requests: that is no fault of this code.
        pb_utils.Logger.log_warn(str(error))
        refused = codes(str(error), codes.INTERNAL)
    else:
        pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
        refused = codes(f"{type(error).__name__}: {error}", codes.INTERNAL)
    return pb_utils.InferenceResponse(error=refused)


def send(sender: Any, response: Any) -> None:
    """Ends a request with its one answer."""
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
