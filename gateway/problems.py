"""What can go wrong for a user: an HTTP status, a code for programs and one helpful sentence."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException

from emotion2vec_client import (
    AccessDeniedError,
    Emotion2VecError,
    InvalidAudioError,
    OverloadedError,
    PredictionTimeoutError,
    ServerUnavailableError,
)
from gateway.schema import ProblemBody

RETRY_SECONDS = 1
"""Seconds after which a refused client may retry."""

STATUS_OF_REASON = {"too_large": 413, "empty": 400, "not_audio": 415, "unsupported": 415}
"""HTTP status of each reason why the server refuses audio; the others are 422."""


class Problem(HTTPException):
    """An error response.

    Args:
        status: HTTP status.
        code: Never changes, for programs to branch on.
        sentence: What was wrong, with which value, and what to do, in English.
        headers: Sent with the answer.
    """

    def __init__(
        self, status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, sentence, headers)
        self.code = code

    def body(self) -> ProblemBody:
        """The JSON of the answer."""
        return {"code": self.code, "detail": self.detail}


def too_large(limit: int, files: int = 1) -> Problem:
    """For an upload of more than ``limit`` bytes, or of more than ``files`` of that size."""
    megabytes = limit / 2**20
    most = f"{megabytes:g} MB" if files == 1 else f"{files} files of {megabytes:g} MB"
    remedy = "a shorter clip" if files == 1 else "fewer files, shorter clips"
    return Problem(
        413,
        "too_large",
        f"the upload has more than {most}: send {remedy} or a compressed format such as MP3 or OGG",
    )


def nothing_kept() -> Problem:
    """For a request for embedding.npy if results are not kept."""
    return Problem(
        422,
        "bad_option",
        "this service keeps no files (E2V_KEEP_RESULTS=0), so there is no embedding.npy: send "
        "embedding=inline to get the numbers in the answer",
    )


def overloaded(sentence: str, retry_seconds: int = RETRY_SECONDS) -> Problem:
    """For a request that there is no room for now."""
    return Problem(429, "overloaded", sentence, {"Retry-After": str(retry_seconds)})


def hung_up() -> Problem:
    """For a client that disconnected before the answer. Only logs and metrics see it."""
    return Problem(499, "gone", "the client hung up before the answer")


def problem_of(error: Exception) -> Problem:
    """Translates what the client library or the disk reports.

    Args:
        error: An `Emotion2VecError`, or an OSError from saving the result.
    """
    sentence = str(error)
    if isinstance(error, InvalidAudioError):
        reason = error.reason or "invalid_audio"
        return Problem(STATUS_OF_REASON.get(reason, 422), reason, sentence)
    if isinstance(error, OverloadedError):
        return overloaded(sentence)
    if isinstance(error, (ServerUnavailableError, AccessDeniedError)):
        return Problem(503, "not_ready", sentence, {"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, PredictionTimeoutError):
        return Problem(504, "timeout", sentence)
    if isinstance(error, Emotion2VecError):
        return Problem(502, "failed", sentence)
    return Problem(
        507,
        "not_saved",
        f"the result could not be saved ({error}): free space in the gateway's outputs folder",
    )
