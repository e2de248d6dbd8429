"""Triton's Python backend for clips: turns files into the encoder's input."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from audio.layout import lay_out
from audio.limits import AudioError, Limits
from audio.sandbox import Decoder


class TritonPythonModel:
    """Decodes each request's file on its own, so that a bad one fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the limits from config.pbtxt."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.decoder = Decoder(Limits.read(parameters))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request with its waveform, or with the reason for a refusal."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        files = pb_utils.get_input_tensor_by_name(request, "audio").as_numpy()
        try:
            if files.shape != (1, 1):
                raise AudioError(
                    "bad_request",
                    f"the request holds {files.size} files: send one per request, with shape "
                    "[1, 1]; the server batches requests by itself",
                )
            decoded = self.decoder.decode(files[0, 0])
        except AudioError as error:
            # Clients branch on the reason in front; the sentence after it is for people.
            text = f"{error.reason}: {error}"
            refusal = pb_utils.TritonError(text, pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        waveform, frames = lay_out(decoded.samples)
        tensors = {
            "waveform": waveform[np.newaxis],
            "num_samples": np.array([[len(decoded.samples)]], np.int32),
            "frames": frames[np.newaxis],
            "samples": decoded.samples[np.newaxis],
            "source_rate": np.array([[decoded.source_rate]], np.int32),
        }
        # The ensembles do not request the last two, and so do not pay for transferring them.
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, tensors[name]) for name in request.requested_output_names()]
        )
