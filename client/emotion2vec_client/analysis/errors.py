"""Errors of the analyses; every message is one sentence."""

from __future__ import annotations

from emotion2vec_client.errors import Emotion2VecError


class AnalysisError(Emotion2VecError, ValueError):
    """The data is unusable: too few rows, a wrong shape, or an invalid file."""


class MissingPackageError(Emotion2VecError, ImportError):
    """A package that this analysis needs is not installed."""
