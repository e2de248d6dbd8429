"""All errors of the library."""

from __future__ import annotations

REASONS = (
    "empty",
    "too_large",
    "not_audio",
    "damaged",
    "too_short",
    "too_long",
    "unsupported",
    "bad_request",
)
"""Reasons for which the server refuses audio."""


class Emotion2VecError(Exception):
    """Base of the other errors, and any other failure; the message is one sentence."""


class InvalidAudioError(Emotion2VecError):
    """The server cannot use the audio; the message says why and what to do.

    Attributes:
        reason: One of `REASONS`, for programs to branch on, or None if the server gave none.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class AccessDeniedError(Emotion2VecError):
    """The server, or the proxy in front of it, does not accept the API key."""


class ServerUnavailableError(Emotion2VecError):
    """No server answers at the address, or its model is not ready."""


class WrongAddressError(Emotion2VecError):
    """The gateway, another port of Triton or another service answers at the address."""


class OverloadedError(ServerUnavailableError):
    """The server's queue is full: send fewer requests at once, or retry later."""


class PredictionTimeoutError(Emotion2VecError):
    """The response did not come in time."""
