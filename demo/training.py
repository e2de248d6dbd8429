"""Trains the model: first the frontend, then the encoder, then the classification head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from demo import model as small
from demo.features import FEATURES, Features, frame_features
from demo.functionals import PrincipalComponents, functionals
from demo.sounds import synthetic_sounds
from export.contract import LABELS
from export.emotion2vec import Emotion2vec

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How long to train, and on how much.

    Attributes:
        sounds: Synthetic sounds.
        frontend_steps: Steps of the frontend.
        sound_steps: Steps of the encoder on synthetic sounds.
        speech_steps: Steps of the encoder on speech.
        components: Principal components of the functionals that the encoder predicts.
        batch: Clips per step.
        versions: Augmented versions of each recording.
    """

    sounds: int = 3000
    frontend_steps: int = 3000
    sound_steps: int = 900
    speech_steps: int = 400
    components: int = 128
    batch: int = 16
    versions: int = 10


FRONTEND_BATCH = 24
FRONTEND_RATE, ENCODER_RATE = 2e-3, 1e-3
"""Highest learning rates."""

FRAMES = 72
"""Frames of a clip when the encoder is trained; functionals need 64."""

DROPOUT, EMBEDDING_DROPOUT = 0.05, 0.2
CLASSIFICATION_WEIGHT = 0.5
"""Weight of the cross-entropy beside the error of the functionals."""

HEAD_C = 0.01
"""Inverse of the regularisation of the classification head."""

ABSENT_LABEL_BIAS = -12.0
"""Of the labels that the corpus does not have: their scores stay near 0."""


def pretrain_frontend(
    model: Emotion2vec, settings: Settings, seed: int, progress: Progress
) -> None:
    """Trains the frontend to predict the features of each frame of synthetic sounds."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    pool = torch.from_numpy(synthetic_sounds(settings.sounds, 1.25, rng))
    features = frame_features(pool)
    mean, deviation = features.mean(dim=(0, 1)), features.std(dim=(0, 1))
    encoder = model.modality_encoders["AUDIO"]
    head = torch.nn.Linear(small.SIZE.embed_dim, FEATURES)
    trainer = Trainer(
        [
            *encoder.local_encoder.parameters(),
            *encoder.project_features.parameters(),
            *head.parameters(),
        ],
        FRONTEND_RATE,
        settings.frontend_steps,
        weight_decay=1e-4,
    )
    for _ in range(settings.frontend_steps):
        batch = small.normal(_mixed_seconds(pool, FRONTEND_BATCH, rng))
        expected = (frame_features(batch) - mean) / deviation
        error = F.mse_loss(head(encoder.local_features(batch)), expected)
        trainer.step(error)
        trainer.report(error, "frontend", progress)


def _mixed_seconds(pool: torch.Tensor, count: int, rng: np.random.Generator) -> torch.Tensor:
    """A second of some sounds, now and then with others behind them, and with noise."""
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
    noise = 10 ** (-rng.uniform(15, 60, count) / 20)
    sound = column(rng.choice([-1.0, 1.0], count)) * some() + column(behind) * some()
    return sound + column(noise) * torch.randn(count, second)


def train_encoder(
    model: Emotion2vec,
    material: Features,
    steps: int,
    settings: Settings,
    seed: int,
    progress: Progress,
    labels: np.ndarray | None = None,
) -> None:
    """Trains everything above the frontend's convolutions to predict the functionals of a clip.

    Clips are cut, joined and stretched at will, and their functionals computed again, so that there
    is no end of them. With labels it learns these as well; the functionals then keep it from
    learning the clips by heart.

    Args:
        model: Its frontend is trained.
        material: Clips.
        steps: Number of steps.
        settings: How to train.
        seed: Of the batches and the dropout.
        progress: Called every hundred steps.
        labels: int64 [n], in the order of ``LABELS``; None learns the functionals only.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    measured = [functionals(part.float()) for part in torch.split(material.frames, 256)]
    components = PrincipalComponents(torch.cat(measured), settings.components)
    encoder = small.AboveFrontend(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = DROPOUT
    regression = torch.nn.Linear(small.SIZE.embed_dim, settings.components)
    classifier = None if labels is None else Classifier(labels)
    trained = [value for name, value in model.named_parameters() if "local_encoder" not in name]
    trained += [*regression.parameters(), *(classifier.parameters() if classifier else ())]
    trainer = Trainer(trained, ENCODER_RATE, steps, weight_decay=0.01)
    encoder.train()
    for _ in range(steps):
        batch = _rearranged(material, settings.batch, rng)
        expected = components(functionals(batch.clips.frames.float()))
        embedding = encoder.embedding(batch.clips.frontend.float())
        error = F.mse_loss(regression(embedding), expected)
        trainer.step(error + classifier(embedding, batch) if classifier else error)
        trainer.report(error, "encoder", progress)
    model.eval()


class Classifier(torch.nn.Module):
    """The cross-entropy of a classifier that is dropped after training.

    Args:
        labels: int64 [n], in the order of ``LABELS``; rare ones weigh more.
    """

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(small.SIZE.embed_dim, len(LABELS))
        counts = np.bincount(labels, minlength=len(LABELS))
        weights = len(labels) / np.maximum(counts, 1) / (counts > 0).sum()
        self.targets = torch.tensor(np.eye(len(LABELS))[labels] * weights, dtype=torch.float32)

    def forward(self, embedding: torch.Tensor, batch: Rearranged) -> torch.Tensor:
        logits = self.linear(F.dropout(embedding, EMBEDDING_DROPOUT))
        errors = -(batch.mixed(self.targets) * F.log_softmax(logits, dim=1)).sum(dim=1)
        return CLASSIFICATION_WEIGHT * errors.mean()


@dataclass(frozen=True)
class Rearranged:
    """Clips whose end may come from another clip.

    Attributes:
        clips: The clips.
        first: Which clips they begin as, int64 [n].
        second: Which clips they end as.
        share: Share of the first.
    """

    clips: Features
    first: torch.Tensor
    second: torch.Tensor
    share: float

    def mixed(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets of both parts, float32 [m, 9], in proportion."""
        return self.share * targets[self.first] + (1 - self.share) * targets[self.second]


def _rearranged(material: Features, count: int, rng: np.random.Generator) -> Rearranged:
    """Clips that begin elsewhere, are faster or slower, and may go on as another clip."""
    total, length = material.frontend.shape[:2]
    first, second = (torch.from_numpy(rng.integers(0, total, count)) for _ in range(2))
    at = np.arange(FRAMES) * np.exp(rng.uniform(-0.25, 0.25)) + rng.integers(0, length)
    order = torch.from_numpy(at.astype(int) % length)
    border = int(rng.integers(FRAMES // 4, FRAMES)) if rng.random() < 0.5 else FRAMES
    parts = []
    for tensor in (material.frontend, material.frames):
        clips = tensor[first][:, order]
        if border < FRAMES:
            clips = torch.cat([clips[:, :border], tensor[second][:, order[border:]]], dim=1)
        parts.append(clips)
    return Rearranged(Features(*parts), first, second, border / FRAMES)


def fit_head(model: Emotion2vec, versions: Sequence[Features], labels: np.ndarray) -> None:
    """Fits the classification head: a logistic regression on the embeddings.

    Args:
        model: Its encoder is trained.
        versions: The recordings, and augmented versions of them.
        labels: int64 [n], in the order of ``LABELS``.
    """
    embeddings = np.concatenate([embed(model, version) for version in versions])
    mean, deviation = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=HEAD_C, class_weight="balanced", max_iter=1000)
    fitted.fit((embeddings - mean) / deviation, np.tile(labels, len(versions)))
    weight = np.zeros((len(LABELS), embeddings.shape[1]), np.float32)
    bias = np.full(len(LABELS), ABSENT_LABEL_BIAS, np.float32)
    # The standardisation becomes part of the head.
    weight[fitted.classes_] = fitted.coef_ / deviation
    bias[fitted.classes_] = fitted.intercept_ - weight[fitted.classes_] @ mean
    with torch.no_grad():
        model.proj.weight.copy_(torch.from_numpy(weight))
        model.proj.bias.copy_(torch.from_numpy(bias))


@torch.no_grad()
def embed(model: Emotion2vec, clips: Features) -> np.ndarray:
    """Embeddings of clips, float32 [n, 192]."""
    encoder = small.AboveFrontend(model.eval())
    parts = [encoder.embedding(part.float()) for part in torch.split(clips.frontend, 64)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def predict(model: Emotion2vec, clips: Features) -> torch.Tensor:
    """Scores of clips: float32 [n, 9] that sum to 1."""
    encoder = small.AboveFrontend(model.eval())
    logits = [encoder(part.float()) for part in torch.split(clips.frontend, 64)]
    return torch.cat(logits).softmax(dim=-1)


class Trainer:
    """AdamW with one cycle of the learning rate.

    Args:
        parameters: What is trained.
        rate: Highest learning rate.
        steps: Number of steps.
        weight_decay: Of AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        rate: float,
        steps: int,
        weight_decay: float,
    ) -> None:
        self._parameters = list(parameters)
        self._optimizer = torch.optim.AdamW(
            self._parameters, weight_decay=weight_decay, betas=(0.9, 0.98)
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, rate, total_steps=steps, pct_start=0.15
        )
        self._errors: list[float] = []

    def step(self, loss: torch.Tensor) -> None:
        """Does one step."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._schedule.step()

    def report(self, error: torch.Tensor, what: str, progress: Progress) -> None:
        """Notes an error, and reports the mean of each hundred."""
        self._errors.append(error.item())
        count = len(self._errors)
        if count % 100 == 0:
            progress(f"{what}: step {count}, error {np.mean(self._errors[-100:]):.3f}")
