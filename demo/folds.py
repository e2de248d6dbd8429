"""Trains a model for each speaker, on all the other speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from demo import augment, model, training
from demo.corpus import SECONDS, Recording
from demo.sounds import sounds
from demo.training import Progress, Settings
from export.contract import LABELS
from export.emotion2vec import Emotion2vec


@dataclass(frozen=True)
class Fold:
    """What one training gave.

    Attributes:
        speaker: Whom the model never heard.
        model: The trained model.
        chosen: bool [n]: which of the recordings are the speaker's.
        scores: float32 [m, 9]: what the model answers about these.
    """

    speaker: str
    model: Emotion2vec
    chosen: np.ndarray
    scores: torch.Tensor


def folds(
    recordings: Sequence[Recording], settings: Settings, seed: int, progress: Progress
) -> Callable[[str], Fold]:
    """Does what all folds share: the frontend and the first measures come from synthetic sounds.

    Returns:
        Trains the fold that leaves out a speaker.
    """
    rng = np.random.default_rng(seed)
    first = model.build(seed)
    training.learn_to_hear(first, settings, seed, progress)
    synthetic = training.listen(first, sounds(settings.sounds, SECONDS, rng))
    training.learn_to_measure(first, synthetic, settings.sound_steps, settings, seed, progress)
    clean = np.stack([recording.waveform for recording in recordings])
    versions = [training.listen(first, clean)]
    for _ in range(settings.versions):
        varied = np.stack([augment.varied(waveform, rng) for waveform in clean])
        versions.append(training.listen(first, varied))
    progress("listened to all recordings")
    labels = np.array([LABELS.index(recording.label) for recording in recordings])
    speakers = np.array([recording.speaker for recording in recordings])

    def without(speaker: str) -> Fold:
        chosen = speakers == speaker
        trained = model.build(seed)
        trained.load_state_dict(first.state_dict())
        heard = [version.of(~chosen) for version in versions]
        material, known = training.joined(heard), np.tile(labels[~chosen], len(heard))
        steps = settings.speech_steps
        training.learn_to_measure(trained, material, steps, settings, seed, progress, known)
        training.fit_head(trained, heard, labels[~chosen], settings.strength)
        scores = training.answers(trained, versions[0].of(chosen))
        right = (scores.argmax(dim=1).numpy() == labels[chosen]).mean()
        progress(f"speaker {speaker}, never heard: {100 * right:.0f} % right")
        return Fold(speaker, trained, chosen, scores)

    return without
