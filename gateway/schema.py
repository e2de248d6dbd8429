"""The answers of the REST endpoint: their types in the code, and their OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

EXAMPLE_SCORES: JsonDict = {
    "angry": 0.012,
    "disgusted": 0.008,
    "fearful": 0.015,
    "happy": 0.853,
    "neutral": 0.045,
    "other": 0.023,
    "sad": 0.018,
    "surprised": 0.021,
    "unknown": 0.005,
}
EXAMPLE: JsonDict = {
    "emotion": "happy",
    "confidence": 0.853,
    "scores": EXAMPLE_SCORES,
    "granularity": "utterance",
    "timestamp": "2026-01-04 22:30:00",
    "duration": 3.292,
    "weights": "pretrained",
    "model": "iic/emotion2vec_plus_large",
    "precision": "fp32",
    "filename": "happy.wav",
    "sample_rate": 44100,
    "milliseconds": {"decode": 21.4, "recognise": 410.0},
    "output_dir": "outputs/outputs_20260104_223000",
    "files": {
        "processed_audio.wav": "/outputs/outputs_20260104_223000/processed_audio.wav",
        "result.json": "/outputs/outputs_20260104_223000/result.json",
    },
}


EXAMPLE_PROBLEM: JsonDict = {
    "code": "too_short",
    "detail": "the clip lasts 10.0 ms and at least 25 ms are needed: send a longer clip",
}

Seconds = Annotated[float, Field(description="seconds")]
Score = Annotated[float, Field(description="its score, 0 to 1")]
Scores = Annotated[dict[str, float], Field(description="nine scores that sum to 1")]
Strongest = Annotated[str, Field(description="the strongest emotion")]
LocalTime = Annotated[str, Field(description="local time, YYYY-MM-DD HH:MM:SS")]
Weights = Annotated[
    str,
    Field(
        description="pretrained; demonstration for the small model of this project; or random: "
        "then the scores mean nothing"
    ),
]
Checkpoint = Annotated[str, Field(description="the checkpoint")]
Precision = Annotated[str, Field(description="precision that the model computes in")]
Upload = Annotated[str, Field(description="name of the uploaded file")]
Stages = Annotated[dict[str, float], Field(description="milliseconds spent in each stage")]
VECTOR: JsonDict = {"items": {"type": "number"}, "type": "array"}
MATRIX: JsonDict = {"items": VECTOR, "type": "array"}
# Absent if the service keeps no files.
OutputDir = Annotated[
    str, Field(description="folder of the files on the server, if results are kept")
]
Files = Annotated[dict[str, str], Field(description="where to GET each file, if results are kept")]


class Decision(TypedDict):
    """What a policy or a head answers."""

    label: Annotated[str, Field(description="its answer; a policy's may be `uncertain`")]
    confidence: Annotated[float, Field(description="probability of its strongest label")]
    scores: Annotated[dict[str, float], Field(description="probability of each of its labels")]
    names: NotRequired[
        Annotated[dict[str, str], Field(description="the answer in other languages, by language")]
    ]


Policy = Annotated[Decision, Field(description="what the policy answers, if there is one")]
Heads = Annotated[
    dict[str, Decision], Field(description="what each head answers, if there are heads")
]


class Recognition(TypedDict):
    """The emotion of a clip."""

    emotion: Strongest
    confidence: Score
    scores: Scores
    granularity: Literal["utterance", "frame"]
    timestamp: LocalTime
    duration: Seconds
    weights: Weights
    model: Checkpoint
    precision: Precision
    policy: NotRequired[Policy]
    heads: NotRequired[Heads]
    frame_hop: NotRequired[
        Annotated[float, Field(description="seconds between frames; frame only")]
    ]
    frame_scores: NotRequired[
        Annotated[
            dict[str, list[float]],
            Field(description="for each emotion one score per frame; frame only"),
        ]
    ]


@with_config(ConfigDict(json_schema_extra={"example": EXAMPLE}))
class Result(Recognition):
    """A recognition."""

    filename: Upload
    sample_rate: Annotated[int, Field(description="of the upload, in Hz; the model hears 16000 Hz")]
    milliseconds: Stages
    output_dir: NotRequired[OutputDir]
    files: NotRequired[Files]
    embedding: NotRequired[
        Annotated[
            # In Python a NumPy array, which orjson writes.
            Any,
            WithJsonSchema({"anyOf": [VECTOR, MATRIX]}),
            Field(description="[1024], in frame granularity [T, 1024]; embedding=inline only"),
        ]
    ]


class Span(TypedDict):
    """A part of a recording."""

    start: Seconds
    end: Seconds


class Segment(Span):
    """A piece of a recording and its emotion."""

    speaker: NotRequired[
        Annotated[str, Field(description="who speaks, if speakers are told apart")]
    ]
    speech: Annotated[float, Field(description="share of it that is speech")]
    emotion: Strongest
    confidence: Score
    scores: Scores
    policy: NotRequired[Policy]
    heads: NotRequired[Heads]


class TurningPoint(TypedDict):
    """Where the smoothed dominant emotion changes."""

    time: Seconds
    before: str
    after: str


class Summary(TypedDict):
    """A recording's speech as a whole; docs/timeline.md defines it."""

    emotion: Annotated[str, Field(description="the dominant emotion")]
    confidence: Score
    scores: Annotated[dict[str, float], Field(description="mean over speech; nine that sum to 1")]
    turning_points: list[TurningPoint]
    negative: Annotated[Span | None, Field(description="the longest negative stretch")]
    policy: NotRequired[Policy]
    heads: NotRequired[Heads]


class Speaker(TypedDict):
    """One speaker of a recording."""

    name: Annotated[str, Field(description="as given; else left, right, or a number")]
    speech: Annotated[float, Field(description="seconds of speech")]
    summary: Annotated[Summary | None, Field(description="of this speaker; null without speech")]


class SpeakerTurn(TurningPoint):
    """Where one speaker's smoothed dominant emotion changes."""

    speaker: str


class Conversation(TypedDict):
    """What happened between the speakers."""

    first_to_turn: Annotated[
        SpeakerTurn | None, Field(description="the first turning point of all speakers")
    ]
    overlap: Annotated[
        float | None,
        Field(description="seconds in which two or more speak; null if told apart by voice"),
    ]


class TimelineResult(TypedDict):
    """Emotion over time in a recording."""

    duration: Seconds
    speech_ratio: Annotated[float, Field(description="share of the recording that is speech")]
    segmentation: Literal["vad", "fixed"]
    weights: Weights
    timestamp: LocalTime
    summary: Annotated[Summary | None, Field(description="null without speech")]
    speakers: NotRequired[Annotated[list[Speaker], Field(description="if speakers are told apart")]]
    conversation: NotRequired[
        Annotated[Conversation, Field(description="if speakers are told apart")]
    ]
    segments: list[Segment]
    model: Checkpoint
    precision: Precision
    filename: Upload
    peak_hop: Annotated[float, Field(description="seconds from one peak to the next")]
    peaks: Annotated[
        list[float], Field(description="largest magnitudes, for a picture of the recording")
    ]
    milliseconds: Stages
    output_dir: NotRequired[OutputDir]
    files: NotRequired[Files]
    embedding: NotRequired[
        Annotated[
            Any,
            WithJsonSchema(MATRIX),
            Field(description="[N, 1024], a row per segment; embedding=inline only"),
        ]
    ]


@with_config(ConfigDict(json_schema_extra={"example": EXAMPLE_PROBLEM}))
class ProblemBody(TypedDict):
    """Why there is no result."""

    code: Annotated[str, Field(description="never changes, for programs to branch on")]
    detail: Annotated[str, Field(description="what was wrong, with which value, and what to do")]


class FileProblem(ProblemBody):
    """Why there is no result for one of several files."""

    filename: Upload


class Results(TypedDict):
    """Answers to several files, in their order."""

    results: list[Result | FileProblem]


class TimelineJob(TypedDict):
    """The state of a timeline job."""

    id: str
    status: Literal["running", "done", "failed", "cancelled"]
    progress: Annotated[float, Field(description="share that is recognised, 0 to 1")]
    filename: Upload
    url: Annotated[str, Field(description="where to GET this again, or DELETE it")]
    result: NotRequired[Annotated[TimelineResult, Field(description="when it is done")]]
    problem: NotRequired[Annotated[ProblemBody, Field(description="when it failed")]]


class Status(BaseModel):
    """Whether the service is alive or ready."""

    status: Literal["ok"]


class License(BaseModel):
    """The licence of the weights."""

    name: str
    link: str


class Emotion(BaseModel):
    """One of the nine emotions."""

    name: str
    chinese: str
    emoji: str
    colour: str = Field(description="#rrggbb, as on the page")


class Limits(BaseModel):
    """The accepted sizes; anything outside them is refused."""

    min_seconds: float = Field(description="shortest clip, in seconds")
    max_seconds: float = Field(description="longest clip, in seconds")
    max_upload_bytes: int = Field(description="largest file of a clip, in bytes")
    max_files: int = Field(description="most files in one request")
    max_recording_seconds: float = Field(description="longest recording of a timeline, in seconds")
    max_recording_bytes: int = Field(description="largest file of a timeline, in bytes")


class About(BaseModel):
    """The model card for clients."""

    checkpoint: str = Field(description="where the weights come from")
    revision: str | None = Field(description="of the checkpoint")
    weights: Weights
    published: bool | None = Field(
        description="whether they are the published ones; null if unknown"
    )
    license: License | None = Field(description="of the weights")
    precision: str = Field(description="precision that the model computes in")
    labels: list[Emotion] = Field(description="in the order of the model's scores")
    embedding_dim: int = Field(description="numbers in an embedding")
    frame_hop: float = Field(description="seconds from one frame to the next")
    version: str = Field(description="of this service")
    limits: Limits
