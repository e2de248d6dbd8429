"""The messages of a stream: what clients send and what they receive (gateway/asyncapi.json)."""

from __future__ import annotations

from base64 import b64decode
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from typing_extensions import TypedDict

from emotion2vec_client import SIDES, check_names
from emotion2vec_client.analysis import AnalysisError, Policy
from gateway.problems import Problem
from gateway.schema import Conversation, Recognition, Summary

MIN_RATE, MAX_RATE = 8_000, 48_000

Reason = Literal["closed", "idle", "too_long", "too_many_errors", "stopping"]
"""Why a session ended."""

Encoding = Literal["s16le", "mulaw", "alaw"]

TELEPHONE_RATE = 8_000
"""Samples per second of mu-law and A-law, unless the client says otherwise."""

OPENAI_FORMATS: dict[str, tuple[Encoding, int]] = {
    "pcm16": ("s16le", 24_000),
    "g711_ulaw": ("mulaw", TELEPHONE_RATE),
    "g711_alaw": ("alaw", TELEPHONE_RATE),
}
"""Names of OpenAI's realtime API, each with its encoding and rate."""


class Format(BaseModel):
    """What the audio is, and what to measure."""

    model_config = ConfigDict(extra="forbid")

    encoding: Encoding = Field(default="s16le", description="of each sample")
    rate: int = Field(
        default=16_000,
        ge=MIN_RATE,
        le=MAX_RATE,
        description="samples per second and channel; 8000 by default for mulaw and alaw",
    )
    channels: Literal[1, 2] = Field(default=1, description="interleaved; each is a speaker")
    mixed: bool = Field(
        default=False, description="the channels are one speaker: their mean is heard, as in a file"
    )
    names: tuple[str, str] | None = Field(
        default=None, description="of the speakers, by channel; left and right if not given"
    )
    interval: float = Field(
        default=1.5,
        ge=0,
        le=30,
        description="seconds of speech between interim measurements; 0 for none, else at least 0.5",
    )
    granularity: Literal["utterance", "frame"] = Field(
        default="utterance", description="as for /api/predict/"
    )
    policy: dict[str, Any] | None = Field(
        default=None, description="a label policy, in the place of the service's"
    )

    @model_validator(mode="before")
    @classmethod
    def _translated(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        given = dict(given)
        name = given.pop("input_audio_format", None)
        if name is not None:
            if not isinstance(name, str) or name not in OPENAI_FORMATS:
                raise ValueError(f"input_audio_format is {name!r}: use {', '.join(OPENAI_FORMATS)}")
            given["encoding"], given["rate"] = OPENAI_FORMATS[name]
        if given.get("encoding") in ("mulaw", "alaw"):
            given.setdefault("rate", TELEPHONE_RATE)
        return given

    @model_validator(mode="after")
    def _checked(self) -> Format:
        if 0 < self.interval < 0.5:
            raise ValueError(f"interval is {self.interval:g} s: use 0, or 0.5 to 30")
        if self.names is not None:
            if not self.is_conversation:
                raise ValueError("names are for two speakers: use channels 2, and not mixed")
            check_names(self.names)
        _ = self.loaded_policy
        try:
            # The answer repeats it.
            orjson.dumps(self.policy)
        except TypeError as error:
            raise ValueError(f"policy cannot be used: {error}") from error
        return self

    @property
    def is_conversation(self) -> bool:
        """Whether each channel is a speaker."""
        return self.channels == 2 and not self.mixed

    @cached_property
    def speakers(self) -> list[str | None]:
        """The name of each speaker; None for the only one."""
        return [*(self.names or SIDES)] if self.is_conversation else [None]

    @cached_property
    def loaded_policy(self) -> Policy | None:
        """The session's own policy."""
        if self.policy is None:
            return None
        try:
            return Policy.read(self.policy, "the session's policy")
        except AnalysisError as error:
            raise ValueError(str(error)) from error


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_id: str | None = Field(default=None, description="ignored; OpenAI's clients send it")


class Update(_Message):
    """Says what the audio is; before the first audio."""

    type: Literal["session.update"]
    session: Format


class Append(_Message):
    """Audio as text, for clients of OpenAI's realtime API; the same as a binary message."""

    type: Literal["input_audio_buffer.append"]
    audio: str = Field(description="the bytes in base64")

    def data(self) -> bytes:
        """The bytes; raises Problem if they are not base64."""
        try:
            return b64decode(self.audio, validate=True)
        except ValueError as error:
            raise Problem(
                422, "bad_request", f"audio is not base64 ({error}): encode the bytes"
            ) from error


class Close(_Message):
    """Asks for the last measurements and the end of the session."""

    type: Literal["session.close"]


Incoming = Annotated[Update | Append | Close, Discriminator("type")]
INCOMING: TypeAdapter[Update | Append | Close] = TypeAdapter(Incoming)


def read(text: str) -> Update | Append | Close:
    """Reads a message of a client; raises Problem if it cannot be used."""
    try:
        return INCOMING.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in TYPES)
        sentence = first["msg"].removeprefix("Value error, ")
        raise Problem(
            422, "bad_request", f"{f'{where}: ' if where else ''}{sentence}; see docs/stream.md"
        ) from error


TYPES = ("session.update", "input_audio_buffer.append", "session.close")

Milliseconds = Annotated[float, Field(description="milliseconds from the start of the stream")]
Channel = Annotated[int, Field(description="0 or 1")]
Who = Annotated[str, Field(description="name of the channel, if there are two")]


class Created(TypedDict):
    """The first message: the session and its defaults."""

    type: Literal["session.created"]
    id: Annotated[str, Field(description="name of the session in the log")]
    session: Format


class Updated(TypedDict):
    """The session after an update."""

    type: Literal["session.updated"]
    session: Format


class Started(TypedDict):
    """Speech has begun."""

    type: Literal["speech.started"]
    channel: Channel
    speaker: NotRequired[Who]
    start: Milliseconds


class Ended(TypedDict):
    """A pause of 400 ms has ended speech."""

    type: Literal["speech.ended"]
    channel: Channel
    speaker: NotRequired[Who]
    end: Milliseconds


class Measurement(TypedDict):
    """The emotion of a part of the stream."""

    type: Literal["measurement"]
    kind: Annotated[
        Literal["interim", "final"],
        Field(description="interim: the last 5 s at most, while speech goes on; final: a segment"),
    ]
    channel: Channel
    speaker: NotRequired[Who]
    start: Milliseconds
    end: Milliseconds
    speech: NotRequired[Annotated[float, Field(description="share that is speech; final only")]]
    result: Annotated[Recognition, Field(description="what /api/predict/ answers for this audio")]


class Error(TypedDict):
    """What could not be done; unless the connection is closed then, the session goes on."""

    type: Literal["error"]
    code: Annotated[str, Field(description="as of the REST endpoint")]
    detail: Annotated[str, Field(description="what was wrong, with which value, and what to do")]
    channel: NotRequired[Channel]
    speaker: NotRequired[Who]
    start: NotRequired[Milliseconds]
    end: NotRequired[Milliseconds]


class Closed(TypedDict):
    """The last message."""

    type: Literal["session.closed"]
    reason: Reason
    duration: Annotated[float, Field(description="seconds of audio received")]
    speech: Annotated[list[float], Field(description="seconds of speech, by channel")]
    summaries: Annotated[
        list[Summary | None],
        Field(description="of a timeline of the final measurements, by channel; null if none"),
    ]
    conversation: NotRequired[
        Annotated[Conversation, Field(description="between the two channels")]
    ]
    final: Annotated[int, Field(description="final measurements sent")]
    interim: Annotated[int, Field(description="interim measurements sent")]
    skipped: Annotated[int, Field(description="interim measurements left out")]
    failed: Annotated[int, Field(description="final measurements that an error was sent for")]
