"""Holds the exported graph to FunASR's answers, clip by clip and in one mixed batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from export.contract import ENCODER_OUTPUTS, SAMPLE_RATE
from export.layout import frame_count, pack
from export.reference import Answer

LENGTHS = (400, 719, 720, 16_000, 52_345, 160_000, 480_000)
"""Samples of the random clips: the shortest, both sides of a frame border, up to 30 s."""


@dataclass(frozen=True)
class Tolerance:
    """How far a graph may be from FunASR.

    Attributes:
        scores: Largest absolute difference of any score.
        embedding: Largest relative error (L2) of an embedding or of a clip's frames.
    """

    scores: float
    embedding: float


TOLERANCES = {"fp32": Tolerance(1e-5, 1e-4), "fp16": Tolerance(2e-3, 1e-2)}


@dataclass(frozen=True)
class Row:
    """One clip's distance from FunASR, alone and in the mixed batch.

    Attributes:
        clip: What it is.
        samples: Its length at 16 kHz.
        scores: Largest absolute difference over its scores and frame scores.
        embedding: Relative error of its embedding.
        frames: Relative error of its frame embeddings.
        unbatched: Largest absolute difference between its batched and its lone scores.
    """

    clip: str
    samples: int
    scores: tuple[float, float]
    embedding: tuple[float, float]
    frames: tuple[float, float]
    unbatched: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether the clip is close enough; false as well for NaN."""
        return (
            all(value <= tolerance.scores for value in (*self.scores, self.unbatched))
            and all(value <= tolerance.embedding for value in (*self.embedding, *self.frames))
        )

    def to_dict(self) -> dict[str, object]:
        """For the model card."""
        return asdict(self)


Run = Callable[[dict[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]


def test_clips(samples: Path, seed: int) -> dict[str, np.ndarray]:
    """Fresh random clips of every length in ``LENGTHS``, and the recordings of a folder.

    Args:
        samples: Folder of audio files; those that libsndfile reads are taken.
        seed: For the random ones, printed with the table so that it can be repeated.

    Returns:
        float32 [n] each, 16 kHz.
    """
    random = np.random.default_rng(seed)
    clips = {
        f"random {length}": random.standard_normal(length).astype(np.float32)
        for length in LENGTHS
    }
    readable = {name.lower() for name in soundfile.available_formats()} | {"opus"}
    for path in sorted(samples.iterdir()) if samples.is_dir() else []:
        if path.suffix[1:] in readable:
            recording, rate = soundfile.read(path, dtype="float32", always_2d=True)
            clips[path.name] = soxr.resample(recording.mean(axis=1), rate, SAMPLE_RATE)
    return clips


def compare(
    run: Run, reference: Callable[[np.ndarray], Answer], clips: dict[str, np.ndarray]
) -> list[Row]:
    """Runs all clips through both, alone and in one batch."""
    alone = [_answers(run, [clip])[0] for clip in clips.values()]
    batched = _answers(run, list(clips.values()))
    rows = []
    for (name, clip), lone, mixed in zip(clips.items(), alone, batched, strict=True):
        truth = reference(clip)
        rows.append(
            Row(
                clip=name,
                samples=len(clip),
                scores=(_score_distance(lone, truth), _score_distance(mixed, truth)),
                embedding=(
                    _relative(lone.embedding, truth.embedding),
                    _relative(mixed.embedding, truth.embedding),
                ),
                frames=(
                    _relative(lone.frame_embedding, truth.frame_embedding),
                    _relative(mixed.frame_embedding, truth.frame_embedding),
                ),
                unbatched=_score_distance(mixed, lone),
            )
        )
    return rows


def table(rows: Sequence[Row], tolerance: Tolerance) -> str:
    """The rows as text, worst values last."""
    lines = [
        f"{'':22} {'':>8} {'max |Δ scores|':^19} {'rel. error embedding':^20} "
        f"{'rel. error frames':^19} {'batched':>8}",
        f"{'clip':22} {'samples':>8} {'alone':>9} {'batched':>9} {'alone':>9} {'batched':>10} "
        f"{'alone':>9} {'batched':>9} {'- alone':>8}",
    ]
    for row in rows:
        values = (*row.scores, *row.embedding, *row.frames, row.unbatched)
        mark = "" if row.within(tolerance) else "  TOO FAR"
        lines.append(
            f"{row.clip:22} {row.samples:8} " + " ".join(f"{v:9.1e}" for v in values) + mark
        )
    lines.append(
        f"tolerance: scores {tolerance.scores:.0e}, relative error {tolerance.embedding:.0e}"
    )
    return "\n".join(lines)


def _answers(run: Run, clips: Sequence[np.ndarray]) -> list[Answer]:
    outputs = run(pack(clips).inputs(), [tensor.name for tensor in ENCODER_OUTPUTS])
    borders = np.cumsum([0, *(frame_count(len(clip)) for clip in clips)])
    return [
        Answer(
            scores=outputs["scores"][index],
            embedding=outputs["embedding"][index],
            frame_scores=outputs["frame_scores"][start:end],
            frame_embedding=outputs["frame_embedding"][start:end],
        )
        for index, (start, end) in enumerate(zip(borders[:-1], borders[1:], strict=True))
    ]


def _score_distance(answer: Answer, truth: Answer) -> float:
    return float(
        max(
            np.abs(answer.scores - truth.scores).max(),
            np.abs(answer.frame_scores - truth.frame_scores).max(),
        )
    )


def _relative(answer: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(answer - truth) / np.linalg.norm(truth))
