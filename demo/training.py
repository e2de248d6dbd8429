"""Trains the model: first to hear, then to measure, then to recognise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from demo import model as small
from demo.measures import measures
from demo.sounds import TARGETS, heard, sounds
from export.contract import LABELS
from export.emotion2vec import Emotion2vec

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How long and how hard to train.

    Attributes:
        sounds: Synthetic sounds.
        hearing_steps: Steps in which the frontend learns.
        hearing_rate: Their highest learning rate.
        sound_steps: Steps in which the encoder learns to measure synthetic sounds.
        speech_steps: Steps in which it learns to measure and to recognise speech.
        measures: How many of the whitened measures it learns.
        batch: Clips per step.
        frames: Frames of a clip, at least 64.
        rate: Highest learning rate of the encoder.
        decay: Weight decay.
        dropout: In the transformer.
        versions: Versions of each recording.
        recognising: Weight of recognising beside measuring.
        forgetting: Dropout of the embedding when it learns to recognise.
        strength: Inverse of the head's regularisation.
    """

    sounds: int = 3000
    hearing_steps: int = 3000
    hearing_rate: float = 2e-3
    sound_steps: int = 900
    speech_steps: int = 400
    measures: int = 128
    batch: int = 16
    frames: int = 72
    rate: float = 1e-3
    decay: float = 0.01
    dropout: float = 0.05
    versions: int = 10
    recognising: float = 0.5
    forgetting: float = 0.2
    strength: float = 0.01


NEVER = -12.0
"""Bias of the labels that the corpus does not have: their scores stay near 0."""


def learn_to_hear(model: Emotion2vec, settings: Settings, seed: int, progress: Progress) -> None:
    """Trains the frontend to predict what `demo.sounds.heard` finds in synthetic sounds."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    pool = torch.from_numpy(sounds(settings.sounds, 1.25, rng))
    known = heard(pool)
    mean, deviation = known.mean(dim=(0, 1)), known.std(dim=(0, 1))
    encoder = model.modality_encoders["AUDIO"]
    reader = torch.nn.Linear(small.SIZE.embed_dim, TARGETS)
    trained = [
        *encoder.local_encoder.parameters(),
        *encoder.project_features.parameters(),
        *reader.parameters(),
    ]
    optimizer = torch.optim.AdamW(trained, weight_decay=1e-4, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.hearing_rate, total_steps=settings.hearing_steps, pct_start=0.1
    )
    losses = []
    for step in range(settings.hearing_steps):
        batch = small.normal(_overheard(pool, 24, rng))
        expected = (heard(batch) - mean) / deviation
        loss = F.mse_loss(reader(encoder.local_features(batch)), expected)
        _step(optimizer, schedule, trained, loss)
        losses.append(loss.item())
        if step % 100 == 99:
            progress(f"hearing: step {step + 1}, error {np.mean(losses[-100:]):.3f}")


def _overheard(pool: torch.Tensor, count: int, rng: np.random.Generator) -> torch.Tensor:
    """A second of some sounds, now and then with others behind them."""
    second = pool.shape[1] * 4 // 5

    def some() -> torch.Tensor:
        chosen = rng.integers(0, len(pool), count)
        begins = rng.integers(0, pool.shape[1] - second, count)
        return torch.stack(
            [pool[i, begin : begin + second] for i, begin in zip(chosen, begins, strict=True)]
        )

    def column(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32)[:, None]

    behind = (rng.random(count) < 0.25) * rng.uniform(0.1, 1, count)
    hiss = 10 ** (-rng.uniform(15, 60, count) / 20)
    sound = column(rng.choice([-1.0, 1.0], count)) * some() + column(behind) * some()
    return sound + column(hiss) * torch.randn(count, second)


@dataclass(frozen=True)
class Heard:
    """Clips as the frontend hears them, and what is in their frames.

    Attributes:
        frontend: float16 [n, T, 192], from `demo.model.hear`.
        frames: float16 [n, T, 64], from `demo.sounds.heard`.
    """

    frontend: torch.Tensor
    frames: torch.Tensor

    def of(self, chosen: torch.Tensor) -> Heard:
        """Some of the clips; ``chosen`` is int64 or bool [n]."""
        return Heard(self.frontend[chosen], self.frames[chosen])


def listen(model: Emotion2vec, waveforms: np.ndarray) -> Heard:
    """Hears waveforms, float32 [n, samples] at 16 kHz, with a trained frontend."""
    tensor = torch.from_numpy(waveforms)
    frames = [heard(small.normal(part)).half() for part in torch.split(tensor, 64)]
    return Heard(small.hear(model, tensor), torch.cat(frames))


def joined(parts: Sequence[Heard]) -> Heard:
    """All clips of several."""
    return Heard(
        torch.cat([part.frontend for part in parts]), torch.cat([part.frames for part in parts])
    )


def learn_to_measure(
    model: Emotion2vec,
    material: Heard,
    steps: int,
    settings: Settings,
    seed: int,
    progress: Progress,
    labels: np.ndarray | None = None,
) -> None:
    """Trains everything above the frontend's convolutions to predict `demo.measures` of a clip.

    Clips are cut, joined and stretched at will, and measured again, so that there is no end of
    them. With labels it learns these as well; measuring then keeps it from learning by heart.

    Args:
        model: Its frontend can hear.
        material: Clips.
        steps: Number of steps.
        settings: How to train.
        seed: Decides.
        progress: Called now and then.
        labels: int64 [n], in the order of ``LABELS``; None measures only.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    scale = Whitened(
        torch.cat([measures(part.float()) for part in torch.split(material.frames, 256)])
    )
    above = small.AboveFrontend(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = settings.dropout
    reader = torch.nn.Linear(small.SIZE.embed_dim, settings.measures)
    trained = [
        *(value for name, value in model.named_parameters() if "local_encoder" not in name),
        *reader.parameters(),
    ]
    if labels is not None:
        judge = torch.nn.Linear(small.SIZE.embed_dim, len(LABELS))
        targets = _balanced(labels)
        trained += judge.parameters()
    optimizer = torch.optim.AdamW(trained, weight_decay=settings.decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, total_steps=steps, pct_start=0.15
    )
    above.train()
    losses = []
    for step in range(steps):
        batch = _rearranged(material, settings.batch, settings.frames, rng)
        expected = scale(measures(batch.clips.frames.float()))[:, : settings.measures]
        embedding = above.embedding(batch.clips.frontend.float())
        loss = F.mse_loss(reader(embedding), expected)
        losses.append(loss.item())
        if labels is not None:
            answers = F.log_softmax(judge(F.dropout(embedding, settings.forgetting)), dim=1)
            error = -(batch.mixed(targets) * answers).sum(dim=1).mean()
            loss = loss + settings.recognising * error
        _step(optimizer, schedule, trained, loss)
        if step % 100 == 99:
            progress(f"measuring: step {step + 1}, error {np.mean(losses[-100:]):.3f}")
    model.eval()


def _balanced(labels: np.ndarray) -> torch.Tensor:
    """Labels as float32 [n, 9], in which rare ones weigh more."""
    counts = np.bincount(labels, minlength=len(LABELS))
    weights = len(labels) / np.maximum(counts, 1) / (counts > 0).sum()
    return torch.from_numpy(np.eye(len(LABELS), dtype=np.float32)[labels] * weights).float()


class Whitened:
    """Turns measures into few, uncorrelated ones; the strongest come first and weigh most."""

    def __init__(self, measured: torch.Tensor) -> None:
        self._mean, self._deviation = measured.mean(dim=0), measured.std(dim=0) + 1e-6
        _, strength, directions = torch.linalg.svd(self._standard(measured), full_matrices=False)
        self._directions = directions.T / (strength / len(measured) ** 0.5).sqrt()

    def _standard(self, measured: torch.Tensor) -> torch.Tensor:
        return (measured - self._mean) / self._deviation

    def __call__(self, measured: torch.Tensor) -> torch.Tensor:
        """float32 [n, 513] → float32 [n, 513]."""
        return self._standard(measured) @ self._directions


@dataclass(frozen=True)
class Rearranged:
    """Clips whose end may come from another clip.

    Attributes:
        clips: The clips.
        first: Which clips they begin as, int64 [n].
        second: Which clips they end as.
        share: Share of the first.
    """

    clips: Heard
    first: torch.Tensor
    second: torch.Tensor
    share: float

    def mixed(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels of the parts, float32 [m, 9], in proportion."""
        return self.share * labels[self.first] + (1 - self.share) * labels[self.second]


def _rearranged(material: Heard, count: int, frames: int, rng: np.random.Generator) -> Rearranged:
    """Clips that begin elsewhere, are faster or slower, and may go on as another clip."""
    total, length = material.frontend.shape[:2]
    first, second = (torch.from_numpy(rng.integers(0, total, count)) for _ in range(2))
    at = np.arange(frames) * np.exp(rng.uniform(-0.25, 0.25)) + rng.integers(0, length)
    order = torch.from_numpy(at.astype(int) % length)
    border = int(rng.integers(frames // 4, frames)) if rng.random() < 0.5 else frames
    joint = []
    for tensor in (material.frontend, material.frames):
        whole = tensor[first][:, order]
        if border < frames:
            whole = torch.cat([whole[:, :border], tensor[second][:, order[border:]]], dim=1)
        joint.append(whole)
    return Rearranged(Heard(*joint), first, second, border / frames)


def fit_head(
    model: Emotion2vec, versions: Sequence[Heard], labels: np.ndarray, strength: float
) -> None:
    """Fits the classification head: a logistic regression on the embeddings.

    Args:
        model: It can measure.
        versions: The recordings, and versions of them.
        labels: int64 [n], in the order of ``LABELS``.
        strength: Inverse of the regularisation.
    """
    embeddings = np.concatenate([embed(model, version) for version in versions])
    mean, deviation = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    fitted.fit((embeddings - mean) / deviation, np.tile(labels, len(versions)))
    weight = np.zeros((len(LABELS), embeddings.shape[1]), np.float32)
    bias = np.full(len(LABELS), NEVER, np.float32)
    weight[fitted.classes_] = fitted.coef_ / deviation
    bias[fitted.classes_] = fitted.intercept_ - weight[fitted.classes_] @ mean
    with torch.no_grad():
        model.proj.weight.copy_(torch.from_numpy(weight))
        model.proj.bias.copy_(torch.from_numpy(bias))


@torch.no_grad()
def embed(model: Emotion2vec, clips: Heard) -> np.ndarray:
    """Embeddings of clips, float32 [n, 192]."""
    above = small.AboveFrontend(model.eval())
    parts = [above.embedding(part.float()) for part in torch.split(clips.frontend, 64)]
    return torch.cat(parts).numpy()


def _step(
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    trained: Sequence[torch.Tensor],
    loss: torch.Tensor,
) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    schedule.step()


@torch.no_grad()
def answers(model: Emotion2vec, clips: Heard) -> torch.Tensor:
    """Scores of clips: float32 [n, 9] that sum to 1."""
    above = small.AboveFrontend(model.eval())
    return torch.cat([above(part.float()) for part in torch.split(clips.frontend, 64)]).softmax(
        dim=-1
    )
