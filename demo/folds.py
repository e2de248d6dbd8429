"""Trains a model for each speaker, on all the other speakers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from demo import augment, features, model, training
from demo.corpus import SECONDS, Recording
from demo.sounds import synthetic_sounds
from demo.training import Progress, Settings
from export.contract import LABELS
from export.emotion2vec import Emotion2vec


@dataclass(frozen=True, eq=False)
class Fold:
    """What one training gave.

    Attributes:
        speaker: Whom the model never heard.
        model: The trained model.
        left_out: bool [n]: which of the recordings are the speaker's.
        scores: float32 [m, 9]: what the model answers about these.
    """

    speaker: str
    model: Emotion2vec
    left_out: np.ndarray
    scores: torch.Tensor


def leave_one_speaker_out(
    recordings: Sequence[Recording], settings: Settings, seed: int, progress: Progress
) -> Iterator[Fold]:
    """Trains a model for each speaker in turn, on all the other speakers.

    The folds share what comes from synthetic sounds only: the frontend, and where the encoder
    begins.
    """
    rng = np.random.default_rng(seed)
    first = model.build(seed)
    training.pretrain_frontend(first, settings, seed, progress)
    synthetic = features.extract(first, synthetic_sounds(settings.sounds, SECONDS, rng))
    training.train_encoder(first, synthetic, settings.sound_steps, settings, seed, progress)
    clean = np.stack([recording.waveform for recording in recordings])
    versions = [features.extract(first, clean)]
    for _ in range(settings.versions):
        augmented = np.stack([augment.augmented(waveform, rng) for waveform in clean])
        versions.append(features.extract(first, augmented))
    progress("extracted the features of all recordings")
    labels = np.array([LABELS.index(recording.label) for recording in recordings])
    speakers = np.array([recording.speaker for recording in recordings])
    for speaker in sorted(set(speakers.tolist())):
        left_out = speakers == speaker
        kept = [version.of(torch.from_numpy(~left_out)) for version in versions]
        trained = model.build(seed)
        trained.load_state_dict(first.state_dict())
        material, targets = features.joined(kept), np.tile(labels[~left_out], len(kept))
        steps = settings.speech_steps
        training.train_encoder(trained, material, steps, settings, seed, progress, targets)
        training.fit_head(trained, kept, labels[~left_out])
        scores = training.predict(trained, versions[0].of(torch.from_numpy(left_out)))
        right = (scores.argmax(dim=1).numpy() == labels[left_out]).mean()
        progress(f"speaker {speaker}, never heard: {100 * right:.0f} % right")
        yield Fold(speaker, trained, left_out, scores)
