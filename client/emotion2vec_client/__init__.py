"""Speech emotion recognition with an emotion2vec-triton server."""

from importlib.metadata import version

from emotion2vec_client.async_client import AsyncClient
from emotion2vec_client.audio import Waveform
from emotion2vec_client.client import Client
from emotion2vec_client.endpoint import TLS
from emotion2vec_client.errors import (
    REASONS,
    AccessDeniedError,
    Emotion2VecError,
    InvalidAudioError,
    OverloadedError,
    PredictionTimeoutError,
    ServerUnavailableError,
    WrongAddressError,
)
from emotion2vec_client.labels import LABELS, Label
from emotion2vec_client.result import (
    Frames,
    Granularity,
    ModelInfo,
    Outcome,
    Prediction,
)
from emotion2vec_client.summary import Segment, Stretch, Summary, TurningPoint
from emotion2vec_client.timeline import Segmentation, Timeline

__version__ = version("emotion2vec-client")

__all__ = [
    "LABELS",
    "REASONS",
    "TLS",
    "AccessDeniedError",
    "AsyncClient",
    "Client",
    "Emotion2VecError",
    "Frames",
    "Granularity",
    "InvalidAudioError",
    "Label",
    "ModelInfo",
    "Outcome",
    "OverloadedError",
    "Prediction",
    "PredictionTimeoutError",
    "Segment",
    "Segmentation",
    "ServerUnavailableError",
    "Stretch",
    "Summary",
    "Timeline",
    "TurningPoint",
    "Waveform",
    "WrongAddressError",
]
