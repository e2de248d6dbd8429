"""Speech emotion recognition with an emotion2vec-triton server."""

from importlib.metadata import version

from emotion2vec_client._async_client import AsyncClient
from emotion2vec_client._audio import Waveform
from emotion2vec_client._base import OnCall
from emotion2vec_client._client import Client
from emotion2vec_client._endpoint import TLS, check_url
from emotion2vec_client._protocol import MODELS, TIMELINE_MODEL
from emotion2vec_client._result import (
    FRAME_HOP,
    Frames,
    Granularity,
    ModelInfo,
    Outcome,
    Prediction,
)
from emotion2vec_client._speakers import (
    SIDES,
    Channels,
    Conversation,
    Speaker,
    Speakers,
    SpeakerTurn,
    check_names,
)
from emotion2vec_client._stream import AsyncStream, Stream
from emotion2vec_client._stream_events import (
    Measurement,
    SpeechEnded,
    SpeechStarted,
    StreamTotals,
)
from emotion2vec_client._summary import Segment, Stretch, Summary, TurningPoint
from emotion2vec_client._timeline import PEAK_HOP, Segmentation, Timeline
from emotion2vec_client._timeline_call import check_timeline_options
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

__version__ = version("emotion2vec-client")

__all__ = [
    "FRAME_HOP",
    "LABELS",
    "MODELS",
    "PEAK_HOP",
    "REASONS",
    "SIDES",
    "TIMELINE_MODEL",
    "TLS",
    "AccessDeniedError",
    "AsyncClient",
    "AsyncStream",
    "Channels",
    "Client",
    "Conversation",
    "Emotion2VecError",
    "Frames",
    "Granularity",
    "InvalidAudioError",
    "Label",
    "Measurement",
    "ModelInfo",
    "OnCall",
    "Outcome",
    "OverloadedError",
    "Prediction",
    "PredictionTimeoutError",
    "Segment",
    "Segmentation",
    "ServerUnavailableError",
    "Speaker",
    "SpeakerTurn",
    "Speakers",
    "SpeechEnded",
    "SpeechStarted",
    "Stream",
    "StreamTotals",
    "Stretch",
    "Summary",
    "Timeline",
    "TurningPoint",
    "Waveform",
    "WrongAddressError",
    "check_names",
    "check_timeline_options",
    "check_url",
]
