"""Asks Triton about parts of a stream: what may be left out, and what may not."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import numpy as np

from audio.layout import SAMPLE_RATE, lay_out
from emotion2vec_client import (
    AsyncClient,
    Emotion2VecError,
    InvalidAudioError,
    ModelInfo,
    Prediction,
    Segment,
    Timeline,
    Waveform,
)
from gateway.admission import Admission
from gateway.problems import Problem, problem_of
from gateway.schema import Recognition
from gateway.settings import Settings
from gateway.stream.messages import Format

PATIENCE_SECONDS = 0.5
"""An answer that may be left out is not asked for if it might take longer."""

FINAL_SECONDS = 120.0
"""How long a final measurement is asked for again, while Triton restarts."""

RETRY_SECONDS = 0.25


@dataclass(frozen=True)
class Found:
    """A prediction and the model that made it."""

    prediction: Prediction
    info: ModelInfo

    def to_dict(self) -> Recognition:
        """What the REST endpoint answers for it, without what belongs to a file."""
        own = {"model": self.info.checkpoint, "precision": self.info.precision}
        return cast("Recognition", {**self.prediction.to_dict(), **own})


class Asker:
    """Asks for the measurements of all streams.

    Args:
        client: Connected to Triton.
        settings: Limits.
    """

    def __init__(self, client: AsyncClient, settings: Settings) -> None:
        self._client = client
        self._timeout = settings.timeout
        self._admission = Admission(settings.max_in_flight, PATIENCE_SECONDS)

    async def try_once(self, samples: np.ndarray, form: Format) -> Found | None:
        """Recognises float32 [n] at 16 kHz; returns None if that might take too long, or fails."""
        try:
            return await self._ask(samples, form, always=False)
        except (Problem, Emotion2VecError):
            return None

    async def insist(self, samples: np.ndarray, form: Format) -> Found:
        """Recognises float32 [n] at 16 kHz, and asks again for two minutes if Triton fails.

        Raises:
            Problem: There is no answer.
        """
        deadline = time.monotonic() + FINAL_SECONDS
        while True:
            try:
                return await self._ask(samples, form, always=True)
            except Emotion2VecError as error:
                if isinstance(error, InvalidAudioError) or time.monotonic() > deadline:
                    raise problem_of(error) from error
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask(self, samples: np.ndarray, form: Format, always: bool) -> Found:
        waveform, frames = lay_out(samples)
        inputs = {"waveform": waveform[np.newaxis], "frames": frames[np.newaxis]}
        with self._admission.admit(always) as answered:
            prediction = await self._client.predict(
                Waveform(samples, SAMPLE_RATE, inputs),
                granularity=form.granularity,
                timeout=self._timeout,
            )
            answered()
        info = await self._client.model_info()
        if form.loaded_policy is not None:
            policy = form.loaded_policy.decide(prediction.scores)
            decisions = dataclasses.replace(prediction.decisions, policy=policy)
            prediction = dataclasses.replace(prediction, decisions=decisions)
        return Found(prediction, info)

    def timeline(
        self,
        segments: Sequence[Segment],
        form: Format,
        seconds: Mapping[str, float],
        overlap: float | None,
    ) -> Timeline:
        """A timeline of these segments, for its summaries.

        Args:
            segments: In the order of their starts.
            form: Of the session.
            seconds: Seconds of speech by the speaker's name.
            overlap: Seconds in which both speak; None for one speaker.
        """
        judges = self._client.judges
        if form.loaded_policy is not None:
            judges = dataclasses.replace(judges, policy=form.loaded_policy)
        nothing = np.zeros(0, np.float32)
        return Timeline(
            tuple(segments),
            0.0,
            0.0,
            "vad",
            "",
            datetime.now(UTC),
            nothing,
            judges,
            seconds,
            overlap,
        )
