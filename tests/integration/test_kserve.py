"""Hostile clients, which send arbitrary tensors to the models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as kserve
from tritonclient.utils import InferenceServerException

from emotion2vec_client import Client, Prediction
from server.triton import Triton
from tests.conftest import speech_like
from tests.fuzz.kserve import fuzz

SAMPLES = 16_000
SLOTS = 10 + 50
FRAMES = 49

Tensors = dict[str, np.ndarray]


def clip() -> Tensors:
    """A clip of one second, in the encoder's layout."""
    waveform = np.zeros((SLOTS, 320), np.float32)
    waveform[10:] = np.random.default_rng(0).standard_normal((SAMPLES // 320, 320))
    return {"waveform": waveform, "frames": np.arange(FRAMES, dtype=np.int32)}


def changed(tensor: str, value: float, at: int = 0) -> Tensors:
    """A clip with one changed element."""
    tensors = clip()
    tensors[tensor].ravel()[at] = value
    return tensors


ATTACKS = {
    "no whole number of slots": clip() | {"waveform": np.zeros(1234, np.float32)},
    "slots of another size": clip() | {"waveform": np.zeros((SLOTS, 319), np.float32)},
    "only empty slots": clip() | {"waveform": np.zeros((10, 320), np.float32)},
    "no slot": clip() | {"waveform": np.zeros((0, 320), np.float32)},
    "slots too many": clip() | {"waveform": np.zeros((SLOTS + 2, 320), np.float32)},
    "slots too few": clip() | {"waveform": np.zeros((SLOTS - 1, 320), np.float32)},
    "no frame": clip() | {"frames": np.zeros(0, np.int32)},
    "a neighbour's frames as well": clip() | {"frames": np.arange(2 * FRAMES, dtype=np.int32)},
    "frames too few": clip() | {"frames": np.arange(FRAMES - 2, dtype=np.int32)},
    "a frame twice": clip() | {"frames": np.arange(FRAMES + 1, dtype=np.int32) % FRAMES},
    "a frame of a neighbour": changed("frames", FRAMES + 30),
    "a frame before the clip": changed("frames", -11),
    "a frame that cannot be": changed("frames", 2**31 - 1),
    "not a number": changed("waveform", np.nan, at=4000),
    "infinity": changed("waveform", np.inf, at=4000),
    "louder than can be": changed("waveform", 1e30, at=4000),
    "two minutes": {
        "waveform": np.zeros((10 + 6_000, 320), np.float32),
        "frames": np.arange(5_999, dtype=np.int32),
    },
}


def infer(url: str, tensors: Tensors) -> None:
    inputs = []
    for name, tensor in tensors.items():
        kind = "FP32" if tensor.dtype == np.float32 else "INT32"
        inputs.append(kserve.InferInput(name, [1, *tensor.shape], kind))
        inputs[-1].set_data_from_numpy(tensor[np.newaxis])
    with kserve.InferenceServerClient(url) as raw:
        raw.infer("encoder", inputs)


def vector(prediction: Prediction) -> np.ndarray:
    assert prediction.frames is not None
    return np.concatenate([list(prediction.scores.values()), prediction.frames.scores.ravel()])


def test_what_the_attacks_are_made_of_is_answered(url: str) -> None:
    infer(url, clip())


@pytest.mark.parametrize("attack", ATTACKS)
def test_tensors_that_do_not_fit_together_fail_alone(url: str, client: Client, attack: str) -> None:
    """Each is sent together with good requests, whose answers must not change."""
    good = [(speech_like(4_000 + 999 * number, seed=number), 16_000) for number in range(6)]
    expected = [vector(client.predict(each, granularity="frame")) for each in good]

    def send(_: int) -> None:
        with pytest.raises(InferenceServerException) as refused:
            infer(url, ATTACKS[attack])
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT", refused.value

    with ThreadPoolExecutor(12) as pool:
        attacks = [pool.submit(send, number) for number in range(6)]
        answers = pool.map(lambda each: client.predict(each, granularity="frame"), good)
        for found, known in zip(answers, expected, strict=True):
            np.testing.assert_allclose(vector(found), known, atol=1e-5)
        for each in attacks:
            each.result()


def test_no_request_brings_the_server_down(triton: Triton) -> None:
    outcome = fuzz(triton, inputs=150, seed=7)
    assert outcome.findings == []
    assert outcome.statuses["gRPC OK"] > 10
    assert outcome.statuses["gRPC INVALID_ARGUMENT"] > 10
    assert outcome.statuses["HTTP 400"] > 10
