"""A client that answers without a server, for the tests of the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec_client import (
    LABELS,
    Emotion2VecError,
    InvalidAudioError,
    Prediction,
    Segment,
    Segmentation,
    ServerUnavailableError,
    Timeline,
)
from emotion2vec_client._result import Frames, ModelInfo, Outcome
from emotion2vec_client.cli import connection

SCORES = {label.name: (index + 1) / 45 for index, label in enumerate(LABELS)}
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=8)))


def prediction(weights: str = "pretrained", frames: int = 0) -> Prediction:
    """A server's answer, with an embedding [3]; the first half of the frames is happy, then sad."""
    scores = np.tile(np.array(list(SCORES.values()), np.float32), (frames, 1))
    if frames:
        names = list(SCORES)
        scores[: frames // 2, names.index("happy")] = 1
        scores[frames // 2 :, names.index("sad")] = 1
    return Prediction(
        scores=SCORES,
        granularity="frame" if frames else "utterance",
        duration=1.0,
        weights=weights,
        embedding=np.array([0.1, 0.2, 0.3], np.float32),
        frames=Frames(
            times=np.arange(frames) * 0.02,
            scores=scores,
            embedding=np.ones((frames, 3), np.float32),
        )
        if frames
        else None,
        timestamp=WHEN,
    )


def timeline(
    segments: int, weights: str = "pretrained", segmentation: Segmentation = "vad"
) -> Timeline:
    """A server's answer: segments of a second, each with an embedding [3]."""
    pieces = (
        Segment(float(index), index + 1.0, SCORES, 0.5, np.full(3, 0.1 * index, np.float32))
        for index in range(segments)
    )
    return Timeline(tuple(pieces), 3.0, 0.5, segmentation, weights, WHEN, np.zeros(0, np.float32))


class FakeClient:
    """Answers by name: ``bad…`` is not audio, ``gone…`` has no server, ``silent…`` no speech."""

    weights = "pretrained"
    retry_seconds = 2.0
    asked: Callable[[Path], object] = staticmethod(lambda path: None)
    """Called with every file before its answer."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.options = options

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def model_info(self) -> ModelInfo:
        card = {"checkpoint": "a", "weights": self.weights, "embed_dim": 3, "sha256": "0"}
        labels = tuple(SCORES)
        return ModelInfo(
            "a", None, self.weights, False, None, "fp32", "cpu", labels, card, uar=0.655
        )

    def predict_many(
        self, items: Iterable[Path], granularity: str = "utterance", **options: Any
    ) -> Iterator[Outcome[Path]]:
        for item in items:
            try:
                self._check(item)
            except Emotion2VecError as error:
                yield Outcome(item, None, error)
            else:
                frames = 4 if granularity == "frame" else 0
                yield Outcome(item, prediction(self.weights, frames), None)

    def timeline(self, path: Path, *, segmentation: Segmentation, **options: Any) -> Timeline:
        self._check(path)
        silent = Path(str(path)).name.startswith("silent")
        return timeline(0 if silent else 2, self.weights, segmentation)

    def _check(self, path: Path) -> None:
        self.asked(path)
        # The recordings of an archive are no paths, but have names like them.
        name = Path(str(path)).name
        if name.startswith("bad"):
            raise InvalidAudioError("this is no audio: send WAV")
        if name.startswith("gone"):
            raise ServerUnavailableError("no server is ready")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeClient]:
    """Replaces the client, and runs the test in an empty folder."""

    class Fake(FakeClient):
        pass

    monkeypatch.setattr(connection, "Client", Fake)
    monkeypatch.delenv("E2V_TRITON_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return Fake


def touch(*names: str) -> list[str]:
    """Makes empty files; returns their names."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return list(names)


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a file."""
    if name.endswith(".csv"):
        with open(name, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]
