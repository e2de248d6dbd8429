"""Imports FunASR's emotion2vec without FunASR's other models."""

from __future__ import annotations

import contextlib
import io
import pkgutil
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keeps FunASR from importing all of its modules, which takes three times as long.

    It also hides the advice of FunASR and pydub to install ffmpeg, which is not used.
    """
    walk_packages = pkgutil.walk_packages
    pkgutil.walk_packages = lambda *_, **__: iter(())
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Couldn't find ffmpeg", RuntimeWarning)
            yield
    finally:
        pkgutil.walk_packages = walk_packages


with _alone():
    from funasr.models.emotion2vec.base import get_alibi
    from funasr.models.emotion2vec.model import Emotion2vec
    from funasr.models.emotion2vec.modules import AltBlock

__all__ = ["AltBlock", "Emotion2vec", "get_alibi"]
