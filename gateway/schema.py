"""Responses of the REST endpoint, for its OpenAPI description."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

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

# Absent if the service keeps no files.
OUTPUT_DIR = Field(None, description="folder of the files on the server, where they are kept")
FILES = Field(None, description="where to GET each file, where they are kept")


class Result(BaseModel):
    """A recognition."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    emotion: str = Field(description="the strongest emotion")
    confidence: float = Field(description="its score, 0 to 1")
    scores: dict[str, float] = Field(description="nine scores that sum to 1")
    granularity: Literal["utterance", "frame"]
    timestamp: str = Field(description="local time, YYYY-MM-DD HH:MM:SS")
    duration: float = Field(description="seconds")
    weights: str = Field(description="pretrained, or random where the scores mean nothing")
    model: str = Field(description="the checkpoint")
    precision: str = Field(description="in which the model computes")
    filename: str = Field(description="of the upload")
    sample_rate: int = Field(description="of the upload, in Hz; the model hears 16000 Hz")
    milliseconds: dict[str, float] = Field(description="spent in each stage")
    output_dir: str | None = OUTPUT_DIR
    files: dict[str, str] | None = FILES
    frame_hop: float | None = Field(None, description="seconds between frames; frame only")
    frame_scores: dict[str, list[float]] | None = Field(
        None, description="for each emotion one score per frame; frame only"
    )
    embedding: list[float] | list[list[float]] | None = Field(
        None, description="[1024], in frame granularity [T, 1024]; embedding=inline only"
    )


class Span(BaseModel):
    """A part of a recording."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")


class Segment(Span):
    """A piece of a recording and its emotion."""

    speech: float = Field(description="share of it that is speech")
    emotion: str = Field(description="the strongest emotion")
    confidence: float = Field(description="its score, 0 to 1")
    scores: dict[str, float] = Field(description="nine scores that sum to 1")


class TurningPoint(BaseModel):
    """Where the smoothed dominant emotion changes."""

    time: float = Field(description="seconds")
    before: str
    after: str


class Summary(BaseModel):
    """A recording's speech as a whole; docs/timeline.md defines it."""

    emotion: str = Field(description="the dominant emotion")
    confidence: float = Field(description="its score, 0 to 1")
    scores: dict[str, float] = Field(description="mean over speech; nine that sum to 1")
    turning_points: list[TurningPoint]
    negative: Span | None = Field(description="the longest negative stretch")


class TimelineResult(BaseModel):
    """The course of emotion through a recording."""

    duration: float = Field(description="seconds")
    speech_ratio: float = Field(description="share of the recording that is speech")
    segmentation: Literal["vad", "fixed"]
    weights: str = Field(description="pretrained, or random where the scores mean nothing")
    timestamp: str = Field(description="local time, YYYY-MM-DD HH:MM:SS")
    summary: Summary | None = Field(description="null without speech")
    segments: list[Segment]
    model: str = Field(description="the checkpoint")
    precision: str = Field(description="in which the model computes")
    filename: str = Field(description="of the upload")
    peak_hop: float = Field(description="seconds from one peak to the next")
    peaks: list[float] = Field(description="largest magnitudes, for a picture of the recording")
    milliseconds: dict[str, float] = Field(description="spent in each stage")
    output_dir: str | None = OUTPUT_DIR
    files: dict[str, str] | None = FILES
    embedding: list[list[float]] | None = Field(
        None, description="[N, 1024], a row per segment; embedding=inline only"
    )


class ProblemBody(BaseModel):
    """Why there is no result."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_PROBLEM})

    code: str = Field(description="never changes, for programs to branch on")
    detail: str = Field(description="what was wrong, with which value, and what to do")


class FileProblem(ProblemBody):
    """Why there is no result for one of several files."""

    filename: str = Field(description="of the upload")


class Results(BaseModel):
    """Answers to several files, in their order."""

    results: list[Result | FileProblem]


class TimelineJob(BaseModel):
    """A recording on its way through the model."""

    id: str
    status: Literal["running", "done", "failed", "cancelled"]
    progress: float = Field(description="share that is recognised, 0 to 1")
    filename: str = Field(description="of the upload")
    url: str = Field(description="where to GET this again, or DELETE it")
    result: TimelineResult | None = Field(None, description="when it is done")
    problem: ProblemBody | None = Field(None, description="when it failed")


class Status(BaseModel):
    """Whether the service is alive or ready."""

    status: Literal["ok"]


class License(BaseModel):
    """Under which the weights may be used."""

    name: str
    link: str


class Emotion(BaseModel):
    """One of the nine, as every answer names it."""

    name: str
    chinese: str
    emoji: str
    colour: str = Field(description="#rrggbb, as on the page")


class Limits(BaseModel):
    """What is taken; more or less is refused."""

    min_seconds: float = Field(description="of a clip")
    max_seconds: float = Field(description="of a clip")
    max_upload_bytes: int = Field(description="of a clip's file")
    max_files: int = Field(description="clips in one request")
    max_recording_seconds: float = Field(description="of a timeline's recording")
    max_recording_bytes: int = Field(description="of a timeline's file")


class About(BaseModel):
    """The model card for clients."""

    checkpoint: str = Field(description="where the weights come from")
    revision: str | None = Field(description="of the checkpoint")
    weights: str = Field(description="pretrained, or random where the scores mean nothing")
    published: bool | None = Field(
        description="whether they are the published ones; null where it is not known"
    )
    license: License | None = Field(description="of the weights")
    precision: str = Field(description="in which the model computes")
    labels: list[Emotion] = Field(description="in the order of the model's scores")
    embedding_dim: int = Field(description="numbers in an embedding")
    frame_hop: float = Field(description="seconds from one frame to the next")
    version: str = Field(description="of this service")
    limits: Limits
