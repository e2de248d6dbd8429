"""The tensors, names and labels that the export, Triton's model repository and all clients share.

The contract is defined only here: `export.config` writes the encoder's config.pbtxt from it, and
tests/contract checks every other config.pbtxt against it.
"""

from __future__ import annotations

from dataclasses import dataclass

from audio.layout import SAMPLE_RATE, SLOT

MAX_SECONDS = 30
"""Longest clip in a request, in seconds."""

MAX_SAMPLES = (MAX_SECONDS + 1) * SAMPLE_RATE
"""Samples at 16 kHz that a clip may have: codecs pad one of full length."""

QUEUE_SIZE = 256
"""Requests that may wait for a model; more are refused at once."""

QUEUE_SECONDS = 30
"""A request that has waited this long is refused: by default, its client has given up."""

LABELS = (
    "angry",
    "disgusted",
    "fearful",
    "happy",
    "neutral",
    "other",
    "sad",
    "surprised",
    "unknown",
)
"""Public label names, in the order of every ``scores`` tensor."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as config.pbtxt declares it.

    Attributes:
        name: Tensor name.
        data_type: Triton type name, for example ``TYPE_FP32``.
        dims: Shape without the batch dimension; -1 is variable.
        ragged: Whether requests of different length share a batch, concatenated without padding.
        scattered_by: Name of the ragged input whose shape splits this output back into requests.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    ragged: bool = False
    scattered_by: str | None = None


@dataclass(frozen=True)
class Model:
    """Inputs and outputs of one model of the repository."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


AUDIO = Tensor("audio", "TYPE_STRING", (1,))
WAVEFORM = Tensor("waveform", "TYPE_FP32", (-1, SLOT), ragged=True)
"""Whole slots, so that Triton refuses a clip that would shift its neighbours."""

NUM_SAMPLES = Tensor("num_samples", "TYPE_INT32", (1,))
"""Only from preprocess: the clip's length at 16 kHz."""

FRAMES = Tensor("frames", "TYPE_INT32", (-1,), ragged=True)
LONGEST = "longest"
"""Batch input of the encoder: its *shape* is the length as laid out of the batch's longest clip."""

SHAPES = {"waveform_shape": WAVEFORM, "frames_shape": FRAMES}
"""Batch inputs of the encoder, int32: the shape of each clip's tensor. Triton reads it off the
tensor, so a client cannot lie about it."""

SCORES = Tensor("scores", "TYPE_FP32", (len(LABELS),))
EMBEDDING = Tensor("embedding", "TYPE_FP32", (-1,))
FRAME_SCORES = Tensor("frame_scores", "TYPE_FP32", (-1, len(LABELS)), scattered_by=FRAMES.name)
FRAME_EMBEDDING = Tensor("frame_embedding", "TYPE_FP32", (-1, -1), scattered_by=FRAMES.name)

SAMPLES = Tensor("samples", "TYPE_FP32", (-1,))
"""Only from preprocess: the decoded clip, 16 kHz mono, before it is normalised."""

SOURCE_RATE = Tensor("source_rate", "TYPE_INT32", (1,))
"""Only from preprocess: samples per second in the file."""

TIMELINE_OUTPUTS = (
    Tensor("segments", "TYPE_FP64", (-1, 2)),
    Tensor("scores", "TYPE_FP32", (-1, len(LABELS))),
    Tensor("embedding", "TYPE_FP32", (-1, -1)),
    Tensor("speech", "TYPE_FP32", (-1,)),
    Tensor("speaker", "TYPE_INT32", (-1,)),
    Tensor("speaker_seconds", "TYPE_FP64", (-1,)),
    Tensor("overlap", "TYPE_FP64", (1,)),
    Tensor("speech_ratio", "TYPE_FP32", (1,)),
    Tensor("duration", "TYPE_FP64", (1,)),
    Tensor("peaks", "TYPE_FP32", (-1,)),
    Tensor("progress", "TYPE_FP32", (1,)),
)
"""For the timeline: a row for each of N segments, and values for the whole recording. FP64, because
after an hour a time in FP32 is some samples off, and a slice cut there gets other scores."""

ENCODER_INPUTS = (WAVEFORM, FRAMES)
ENCODER_OUTPUTS = (SCORES, EMBEDDING, FRAME_SCORES, FRAME_EMBEDDING)
