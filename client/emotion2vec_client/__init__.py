"""Speech emotion recognition with an emotion2vec-triton server."""

from emotion2vec_client.client import Client
from emotion2vec_client.errors import (
    Emotion2VecError,
    InvalidAudioError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from emotion2vec_client.labels import LABELS, Label
from emotion2vec_client.result import Frames, ModelInfo, Prediction

__all__ = [
    "LABELS",
    "Client",
    "Emotion2VecError",
    "Frames",
    "InvalidAudioError",
    "Label",
    "ModelInfo",
    "Prediction",
    "PredictionTimeoutError",
    "ServerUnavailableError",
]
