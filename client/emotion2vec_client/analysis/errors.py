"""What can go wrong in an analysis; every message is one sentence."""

from __future__ import annotations

from emotion2vec_client.errors import Emotion2VecError


class AnalysisError(Emotion2VecError, ValueError):
    """The data cannot be analysed: too few, of another shape, or a file that cannot be read."""


class MissingPackageError(Emotion2VecError, ImportError):
    """A package that this analysis needs is not installed."""
