"""Triton's Python backend for timelines: turns a recording into segments.

It accepts a request at once and answers it later from another thread. So it processes several
recordings at the same time, and a request may ask for the progress of another one.
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
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from audio.layout import SAMPLE_RATE, lay_out
from audio.limits import AudioError, Limits
from audio.options import Options
from audio.recording import Answer, BusyError, Cancelled, Encoder, Recording
from audio.sandbox import Decoder
from audio.voices import VoiceModel

ENCODER_THREADS = 8
"""Pieces that wait for the encoder at once: enough for its current batch and the next one."""

SHM = "/dev/shm"
ROOM_SECONDS = 5
"""Longest wait of an answer for room in shared memory, in seconds."""

NO_RECORDING = Recording(Options(), False, lambda: False)
"""Stands for a recording that has not arrived yet or is finished."""

TYPES = {
    "segments": np.float64,
    "speaker": np.int32,
    "speaker_seconds": np.float64,
    "overlap": np.float64,
    "duration": np.float64,
}


class EncoderError(Exception):
    """The encoder failed; the message is the encoder's."""


class OverloadedError(Exception):
    """Too many recordings are in process or waiting."""


class NoRoomError(Exception):
    """Shared memory is too full for an answer."""


class TritonPythonModel:
    """Processes recordings, and answers questions about them."""

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
        self.voices: tuple[int, VoiceModel] | None = None

    def execute(self, requests: list[Any]) -> list[None]:
        """Accepts requests; each is answered through its own sender."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._accept(request, sender)
            except (AudioError, OverloadedError) as error:
                send(sender, refusal(error))
        return [None] * len(requests)

    def finalize(self) -> None:
        """Stops all work."""
        for recording in list(self.recordings.values()):
            recording.cancelled.set()
        self.workers.shutdown()

    def _accept(self, request: Any, sender: Any) -> None:
        names = request.requested_output_names()
        parameters = json.loads(request.parameters())
        for question in ("progress_of", "cancel"):
            if question in parameters:
                # The recording may not have arrived yet, or may be finished.
                other = self.recordings.get(parameters[question], NO_RECORDING)
                if question == "cancel":
                    other.cancelled.set()
                send(sender, answer(other, names))
                return
        options = Options.read(parameters)
        if len(self.recordings) >= self.at_once + self.waiting:
            raise OverloadedError(
                f"{self.at_once} recordings are in process and {self.waiting} are waiting, which "
                "is the maximum queue size: send this one later"
            )
        key = request.request_id() or uuid.uuid4().hex
        if key in self.recordings:
            raise AudioError(
                "bad_request",
                f"a recording with the request id {key!r} is still in process: choose another id",
            )
        recording = Recording(options, "embedding" in names, sender.is_cancelled)
        self.recordings[key] = recording
        # The worker empties this list, so that the file does not stay in memory for as long as the
        # work lasts.
        files = [pb_utils.get_input_tensor_by_name(request, "audio").as_numpy()[0, 0]]
        work = self.workers.submit(self._work, recording, files, names)
        work.add_done_callback(lambda done: self._finish(key, done, sender))

    def _start_decoder(self) -> None:
        """Starts one decoder per worker: a start takes as long as a short recording."""
        self.own.decoder = Decoder(self.limits)

    def _voice_model(self) -> VoiceModel:
        """The model that tells speakers apart; read when it is needed, and when it has changed.

        Raises:
            AudioError: There is none.
        """
        path = Path(__file__).with_name("voices.onnx")
        if not path.exists():
            raise AudioError(
                "bad_request",
                "speakers are to be told apart by their voices, and this server has no model for "
                "that: run 'make voices' on it, or send each speaker on a channel",
            )
        written = path.stat().st_mtime_ns
        if self.voices is None or self.voices[0] != written:
            self.voices = written, VoiceModel(path)
        return self.voices[1]

    def _work(self, recording: Recording, files: list[bytes], names: Iterable[str]) -> Any:
        if recording.options.speakers != 1:
            model = self._voice_model()
            recording.listen(self.own.decoder.stream(files[0]), model)
        separate = recording.options.channels == "separate"
        recording.run(self.own.decoder.stream(files.pop(), separate), self.encoder)
        found = answer(recording, names)
        wait_for_room(found)
        return found

    def _finish(self, key: str, done: Future[Any], sender: Any) -> None:
        del self.recordings[key]
        error = done.exception()
        send(sender, done.result() if error is None else refusal(error))


def encode(samples: np.ndarray, embedding: bool) -> Answer:
    """Sends one piece, float32 [n] at 16 kHz, to the encoder."""
    waveform, frames = lay_out(samples)
    names = ["scores", "embedding"] if embedding else ["scores"]
    response = pb_utils.InferenceRequest(
        model_name="encoder",
        requested_output_names=names,
        # By default, an encoder on a GPU answers in the GPU's memory, which NumPy cannot read.
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        inputs=[
            pb_utils.Tensor("waveform", waveform[np.newaxis]),
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
    """Builds the outputs from what a recording has so far."""
    progress = recording.progress
    segments = sorted(recording.segments, key=lambda each: (each.piece.start, each.piece.speaker))
    pieces = [segment.piece for segment in segments]
    embeddings = [segment.answer.embedding for segment in segments]
    tensors = {
        "segments": rows([[piece.start, piece.end] for piece in pieces], 2) / SAMPLE_RATE,
        "scores": rows([segment.answer.scores for segment in segments], 9),
        "embedding": rows([row for row in embeddings if row is not None], 0),
        "speaker": np.array([piece.speaker for piece in pieces]),
        "speech": np.array([piece.speech / (piece.end - piece.start) for piece in pieces]),
        "speaker_seconds": np.array(recording.speech),
        "overlap": np.array([recording.overlap]),
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

    A sender whose response finds no room can never answer its request, so the check comes first.

    Raises:
        NoRoomError: Shared memory has no room within ROOM_SECONDS.
    """
    size = sum(tensor.as_numpy().nbytes for tensor in response.output_tensors())
    deadline = time.monotonic() + ROOM_SECONDS
    while True:
        room = os.statvfs(SHM)
        # Twice the size, because other models use shared memory too.
        if room.f_bavail * room.f_frsize >= 2 * size + 2**20:
            return
        if time.monotonic() > deadline:
            raise NoRoomError(
                f"{SHM} has no room for an answer of {size / 2**20:.1f} MB: make it larger, or see "
                "what fills it, and send this recording again"
            )
        time.sleep(0.1)


def rows(values: list[Any], width: int) -> np.ndarray:
    """Returns an array [N, width], even if N is 0."""
    return np.array(values) if values else np.zeros((0, width))


def refusal(error: BaseException) -> Any:
    """Builds the response to a request that failed."""
    codes = pb_utils.TritonError
    if isinstance(error, AudioError):
        # Clients branch on the reason in front; the sentence after it is for people.
        refused = codes(f"{error.reason}: {error}", codes.INVALID_ARG)
    elif isinstance(error, OverloadedError):
        refused = codes(str(error), codes.UNAVAILABLE)
    elif isinstance(error, Cancelled):
        refused = codes("the request was cancelled", codes.CANCELLED)
    elif isinstance(error, EncoderError):
        # Under load, requests time out in the encoder's queue: that is not a bug in this code.
        pb_utils.Logger.log_warn(str(error))
        refused = codes(str(error), codes.INTERNAL)
    else:
        pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
        refused = codes(f"{type(error).__name__}: {error}", codes.INTERNAL)
    return pb_utils.InferenceResponse(error=refused)


def send(sender: Any, response: Any) -> None:
    """Sends the only response to a request."""
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
