"""The timeline's Python backend, without Triton."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from audio.layout import SAMPLE_RATE
from tests.conftest import ROOT
from tests.integration.gateways import wav

FOLDER = ROOT / "model_repository" / "emotion2vec_timeline"


class Tensor:
    def __init__(self, name: str, array: np.ndarray):
        self.name, self._array = name, array

    def as_numpy(self) -> np.ndarray:
        return self._array


class EncoderRequest:
    """A request to another model; the encoder answers once it is released."""

    released = threading.Event()
    options: dict[str, Any]

    def __init__(self, **options: Any):
        EncoderRequest.options = options

    def exec(self) -> Any:
        assert self.released.wait(60)
        scores = np.eye(1, 9, dtype=np.float32)
        return SimpleNamespace(
            has_error=lambda: False, tensors={"scores": Tensor("scores", scores)}
        )


class Response:
    def __init__(self, tensors: list[Tensor] | None = None, error: Any = None):
        self.tensors, self.error = tensors or [], error

    def output_tensors(self) -> list[Tensor]:
        return self.tensors


class Error(Exception):
    INVALID_ARG, UNAVAILABLE, CANCELLED, INTERNAL = range(4)

    def __init__(self, message: str, code: int):
        self.message, self.code = message, code


class Request:
    """A request for a timeline."""

    def __init__(self, name: str, data: bytes):
        self._name = name
        self.tensors = {"audio": Tensor("audio", np.array([[data]], object))}
        self.response: Response | None = None
        self.answered = threading.Event()

    def get_response_sender(self) -> Request:
        return self

    def requested_output_names(self) -> list[str]:
        return ["scores"]

    def parameters(self) -> str:
        return json.dumps({"segmentation": "fixed", "window": "1", "hop": "1"})

    def request_id(self) -> str:
        return self._name

    def is_cancelled(self) -> bool:
        return False

    def send(self, response: Response, flags: int) -> None:
        assert not self.answered.is_set()
        self.response = response
        self.answered.set()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    backend = ModuleType("triton_python_backend_utils")
    members = {
        "InferenceRequest": EncoderRequest,
        "InferenceResponse": Response,
        "PreferredMemory": lambda kind, device: (kind, device),
        "TRITONSERVER_MEMORY_CPU": "CPU",
        "TRITONSERVER_RESPONSE_COMPLETE_FINAL": 1,
        "Tensor": Tensor,
        "TritonError": Error,
        "get_input_tensor_by_name": lambda request, name: request.tensors[name],
        "get_output_tensor_by_name": lambda response, name: response.tensors[name],
    }
    for name, member in members.items():
        setattr(backend, name, member)
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    spec = importlib.util.spec_from_file_location("timeline_model", FOLDER / "1" / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    EncoderRequest.released.clear()
    loaded = module.TritonPythonModel()
    config = text_format.Parse((FOLDER / "config.pbtxt").read_text("utf-8"), ModelConfig())
    loaded.initialize(
        {"model_config": json_format.MessageToJson(config, preserving_proto_field_name=True)}
    )
    yield loaded
    EncoderRequest.released.set()
    loaded.finalize()


def test_it_asks_the_encoder_for_answers_that_numpy_can_read(model: Any) -> None:
    request = Request("", wav(np.zeros(SAMPLE_RATE)))
    model.execute([request])
    EncoderRequest.released.set()
    assert request.answered.wait(60)
    assert request.response
    assert request.response.error is None
    assert EncoderRequest.options["preferred_memory"] == ("CPU", 0)


def test_an_id_in_use_is_refused_and_free_again_once_it_is_answered(model: Any) -> None:
    first, second, third = (Request("one", wav(np.zeros(SAMPLE_RATE))) for _ in range(3))
    model.execute([first, second])
    assert second.answered.wait(60)
    assert second.response
    assert second.response.error.message.startswith("bad_request: a recording with the request id")
    assert second.response.error.code == Error.INVALID_ARG
    EncoderRequest.released.set()
    assert first.answered.wait(60)
    assert first.response
    assert first.response.error is None
    model.execute([third])
    assert third.answered.wait(60)
    assert third.response
    assert third.response.error is None
