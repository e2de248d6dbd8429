"""The limits of a request, and the error that says why a file is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Reason = Literal[
    "empty",  # 0 bytes
    "too_large",
    "not_audio",  # unreadable, or without an audio track
    "damaged",  # truncated, without samples, with NaN or infinite samples, or too costly to decode
    "too_short",
    "too_long",
    "unsupported",  # a sample rate, channel count or codec that is not supported
    "bad_request",  # the request's tensor or parameters, not the file in it
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why audio is refused. Clients branch on these words, so they must not change."""

CODEC_PADDING_SECONDS = 0.1
"""Encoders pad a clip to whole codec frames: an M4A of 30 s decodes to a little more than 30 s."""

TIMELINE_FROM_SECONDS = 60
"""If clips may be longer than this, these are the limits of timelines."""


class AudioError(ValueError):
    """The user's audio cannot be used; the message says why and what to do, in one sentence.

    Attributes:
        reason: One of `REASONS`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """The limits of a request; config.pbtxt has the values.

    Attributes:
        max_bytes: Largest file.
        min_seconds: Shortest clip; one frame of the encoder is 25 ms.
        max_seconds: Longest clip.
        min_rate: Lowest sample rate, in Hz.
        max_rate: Highest sample rate, in Hz.
        max_channels: Most channels.
        max_memory_bytes: Memory that decoding may use beyond the file.
        max_cpu_seconds: CPU time that decoding may use.
    """

    max_bytes: int
    min_seconds: float
    max_seconds: float
    min_rate: int
    max_rate: int
    max_channels: int
    max_memory_bytes: int
    max_cpu_seconds: float

    @classmethod
    def read(cls, parameters: dict[str, Any]) -> Limits:
        """Reads the values from config.pbtxt.

        Args:
            parameters: The parameters of the model's configuration, as Triton passes them.

        Returns:
            The limits.

        Raises:
            KeyError: config.pbtxt lacks one of the values.
        """
        return cls(
            **{
                field.name: json.loads(parameters[field.name]["string_value"])
                for field in fields(cls)
            }
        )

    def check_bytes(self, size: int) -> None:
        """Raises AudioError if a file is empty or too large."""
        if not size:
            raise AudioError(
                "empty", "the file is empty (0 bytes): send the bytes of an audio file"
            )
        if size > self.max_bytes:
            raise AudioError(
                "too_large",
                f"the file has {size / 2**20:.1f} MB and the limit is "
                f"{self.max_bytes / 2**20:.0f} MB: send a shorter clip or a compressed format",
            )

    def check_rate(self, rate: int) -> None:
        """Raises AudioError if a sample rate is not supported."""
        if not self.min_rate <= rate <= self.max_rate:
            raise AudioError(
                "unsupported",
                f"the file says it has {rate} samples per second and {self.min_rate} to "
                f"{self.max_rate} are supported: send it at another rate",
            )

    def check_channels(self, channels: int) -> None:
        """Raises AudioError if a number of channels is not supported."""
        if not 1 <= channels <= self.max_channels:
            raise AudioError(
                "unsupported",
                f"the file has {channels} channels and 1 to {self.max_channels} are supported: "
                "send it in mono",
            )

    def check_longest(self, seconds: float) -> None:
        """Raises AudioError if a clip is too long."""
        if seconds > self.max_seconds + CODEC_PADDING_SECONDS:
            raise AudioError(
                "too_long",
                f"the clip lasts at least {seconds:.1f} s and the limit is "
                f"{self.max_seconds:g} s: {self._instead()}",
            )

    def _instead(self) -> str:
        # Nothing accepts more than the two hours of a timeline.
        if self.max_seconds > TIMELINE_FROM_SECONDS:
            return "cut it into pieces"
        return "send a shorter clip, or ask for its timeline, which takes up to two hours"

    def check_shortest(self, seconds: float) -> None:
        """Raises AudioError if a clip is too short."""
        if seconds < self.min_seconds:
            raise AudioError(
                "too_short",
                f"the clip lasts {seconds * 1000:.1f} ms and at least "
                f"{self.min_seconds * 1000:.0f} ms are needed: send a longer clip",
            )
