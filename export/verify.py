"""Compares the exported graph with FunASR, clip by clip and in mixed batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from audio.layout import SAMPLE_RATE, frame_count
from export.batch import pack
from export.contract import ENCODER_OUTPUTS
from export.reference import Answer


@dataclass(frozen=True)
class Tolerance:
    """How far a graph may be from FunASR.

    Attributes:
        scores: Largest absolute difference of a clip's scores.
        brief_scores: The same for a clip of less than a second. Looser, because an average over
            few frames keeps more of their rounding.
        frame_scores: The same for each frame. Looser, because a frame of digital silence is only
            rounding error, which the frontend's LayerNorm amplifies in FunASR as much as here.
        embedding: Largest relative error (L2) of an embedding, or of a clip's frame embeddings.
    """

    scores: float
    brief_scores: float
    frame_scores: float
    embedding: float

    def of_scores(self, samples: int) -> float:
        """The tolerance of the scores of a clip with so many samples."""
        return self.brief_scores if samples < BRIEF else self.scores


BRIEF = SAMPLE_RATE
"""A clip with fewer samples is brief."""

# In fp16 and bf16 at least twice the error measured with full-size random weights: 3.0e-3 on brief
# clips and 7.4e-4 on others in fp16, 2.0e-2 and 3.5e-3 in bf16.
TOLERANCES = {
    "fp32": Tolerance(1e-5, 1e-5, 1e-4, 1e-4),
    "fp16": Tolerance(2e-3, 6e-3, 2e-2, 1e-2),
    "bf16": Tolerance(1e-2, 4e-2, 1e-1, 3e-2),
    # Scores that are off by 5e-2 at most cannot turn an answer that is ahead by 0.1. Measured: see
    # docs/export.md.
    "int8": Tolerance(5e-2, 1e-1, 3e-1, 2e-1),
}

MOST_ROWS = 40
"""Clips in the printed table; of more, those whose scores are furthest off."""

CLEAR_MARGIN = 0.1
"""An answer is clear if its strongest score is ahead of the second by more than this. No precision
may give another one."""


@dataclass(frozen=True)
class Row:
    """One clip's distance from FunASR, alone and in the mixed batch.

    Attributes:
        clip: Its name.
        samples: Its length at 16 kHz.
        scores: Largest absolute difference of its scores.
        frame_scores: Largest absolute difference of any of its frames' scores.
        embedding: Relative error of its embedding.
        frames: Relative error of its frame embeddings.
        unbatched: Largest absolute difference between its scores in a batch and alone.
        flipped: Whether another emotion than FunASR's is the strongest, alone or in a batch.
        margin: FunASR's strongest score minus the second.
    """

    clip: str
    samples: int
    scores: tuple[float, float]
    frame_scores: tuple[float, float]
    embedding: tuple[float, float]
    frames: tuple[float, float]
    unbatched: float
    flipped: bool
    margin: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether the clip is close enough and keeps a clear answer; NaN never does."""
        scores = tolerance.of_scores(self.samples)
        return (
            not (self.flipped and self.margin > CLEAR_MARGIN)
            and all(value <= scores for value in (*self.scores, self.unbatched))
            and all(value <= tolerance.frame_scores for value in self.frame_scores)
            and all(value <= tolerance.embedding for value in (*self.embedding, *self.frames))
        )

    def to_dict(self) -> dict[str, object]:
        """Returns the row for the model card."""
        return asdict(self)


Run = Callable[[dict[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]
Answerer = Callable[[np.ndarray], Answer]


def cached(reference: Answerer) -> Answerer:
    """Wraps a reference so that it computes each clip once for all precisions."""
    answers: dict[bytes, Answer] = {}

    def run(clip: np.ndarray) -> Answer:
        key = clip.tobytes()
        if key not in answers:
            answers[key] = reference(clip)
        return answers[key]

    return run


def compare(
    run: Run,
    reference: Answerer,
    clips: dict[str, np.ndarray],
    batch_size: int = 32,
    reached: Callable[[str], None] = lambda position: None,
) -> list[Row]:
    """Runs all clips through both, alone and in batches.

    Args:
        run: The graph.
        reference: FunASR.
        clips: float32 [n] each, 16 kHz, by name.
        batch_size: Most clips in a batch.
        reached: Called with the clip that is being computed.
    """
    packed = list(clips.values())
    rows: list[Row] = []
    batch: list[Answer] = []
    for number, (name, clip) in enumerate(clips.items()):
        reached(f"clip {number + 1} of {len(packed)}")
        # Batch by batch: the answers of all clips would fill the memory.
        if number % batch_size == 0:
            batch = _answers(run, packed[number : number + batch_size])
        truth = reference(clip)
        answers = lone, mixed = _answers(run, [clip])[0], batch[number % batch_size]
        rows.append(
            Row(
                clip=name,
                samples=len(clip),
                scores=_pair(_distance, answers, truth, "scores"),
                frame_scores=_pair(_distance, answers, truth, "frame_scores"),
                embedding=_pair(_relative, answers, truth, "embedding"),
                frames=_pair(_relative, answers, truth, "frame_embedding"),
                unbatched=_distance(mixed.scores, lone.scores),
                flipped=any(each.scores.argmax() != truth.scores.argmax() for each in answers),
                margin=margin(truth.scores),
            )
        )
    return rows


def margin(scores: np.ndarray) -> float:
    """The strongest score minus the second."""
    second, first = np.sort(scores)[-2:]
    return float(first - second)


def flips(margins: Sequence[float], clips: int) -> str:
    """Says in how many clips the strongest emotion is another than FunASR's.

    Args:
        margins: Of these clips, FunASR's strongest score minus its second.
        clips: All clips compared.
    """
    if not margins:
        return f"the strongest emotion is FunASR's in all {clips} clips"
    return (
        f"the strongest emotion is another than FunASR's in {len(margins)} of {clips} clips, "
        f"where FunASR's own is ahead by {max(margins):.1e} at most"
    )


def table(rows: Sequence[Row], tolerance: Tolerance) -> str:
    """Formats the rows as a table."""
    groups = {
        "max |Δ scores|": ("scores", tolerance.scores),
        "max |Δ frame scores|": ("frame_scores", tolerance.frame_scores),
        "rel. error embedding": ("embedding", tolerance.embedding),
        "rel. error frames": ("frames", tolerance.embedding),
    }
    lines = [
        f"{'clip':19} {'samples':>8} " + " ".join(f"{name:^21}" for name in groups) + "  batched",
        f"{'':19} {'':>8} "
        + " ".join(f"{'alone':>10} {'batched':>10}" for _ in groups)
        + "  - alone",
        f"{'tolerance':19} {'':>8} "
        + " ".join(f"{limit:10.0e} {limit:10.0e}" for _, limit in groups.values())
        + f" {tolerance.scores:8.0e}",
    ]
    if tolerance.brief_scores != tolerance.scores:
        brief = f"{tolerance.brief_scores:10.0e}"
        lines.append(f"{'- below 1 s':19} {'':>8} {brief} {brief} {'':65} {brief.strip():>8}")
    shown = rows
    if len(rows) > MOST_ROWS:
        shown = sorted(rows, key=lambda row: (row.within(tolerance), -max(row.scores)))[:MOST_ROWS]
    for row in shown:
        pairs = [getattr(row, attribute) for attribute, _ in groups.values()]
        lines.append(
            f"{row.clip:19} {row.samples:8} "
            + " ".join(f"{alone:10.1e} {batched:10.1e}" for alone, batched in pairs)
            + f" {row.unbatched:8.1e}"
            + ("" if row.within(tolerance) else "  TOO FAR")
        )
    if len(shown) < len(rows):
        lines.append(f"and {len(rows) - len(shown)} clips whose scores are nearer")
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
        for index, (start, end) in enumerate(itertools.pairwise(borders))
    ]


def _pair(
    measure: Callable[[np.ndarray, np.ndarray], float],
    answers: Sequence[Answer],
    truth: Answer,
    attribute: str,
) -> tuple[float, float]:
    """Measures the lone and the batched answer."""
    lone, mixed = (
        measure(getattr(answer, attribute), getattr(truth, attribute)) for answer in answers
    )
    return lone, mixed


def _distance(answer: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(answer - truth).max())


def _relative(answer: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(answer - truth) / np.linalg.norm(truth))
