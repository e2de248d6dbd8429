"""What can go wrong, in one tree."""

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
"""Why audio is refused."""


class Emotion2VecError(Exception):
    """Base of all below, and any other failure of the server; the message is one sentence."""


class InvalidAudioError(Emotion2VecError):
    """The audio cannot be used; the server's sentence says why and what to do.

    Attributes:
        reason: One of `REASONS` for programs to branch on, or None where the server gave none.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class AccessDeniedError(Emotion2VecError):
    """The server, or the proxy before it, does not accept the API key."""


class ServerUnavailableError(Emotion2VecError):
    """No server answers at the address, or its model is not ready."""


class WrongAddressError(Emotion2VecError):
    """Something else than the port of Triton that was meant answers at the address."""


class OverloadedError(ServerUnavailableError):
    """The server's queue is full: send less at once, or later."""


class PredictionTimeoutError(Emotion2VecError):
    """The answer did not come in time."""
