"""The clips that every load sends: speech from the samples, in many lengths and all formats."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from samples.make import FOLDER as SAMPLES
from samples.make import encode

CACHE = Path(__file__).resolve().parent / ".corpus"
SEED = 5
SECONDS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30)
RATES = {
    "wav": 16_000,
    "mp3": 44_100,
    "m4a": 44_100,
    "flac": 48_000,
    "ogg": 22_050,
    "opus": 48_000,
}
"""A typical sample rate for each format."""

SOURCE_RATE = 48_000
VOICES = ("happy.wav", "sad.mp3", "angry.flac", "disgusted.mp3", "mandarin.ogg", "story.ogg")


@dataclass(frozen=True)
class Clip:
    """One file to send.

    Attributes:
        seconds: Length of the audio.
        format: Suffix without its dot.
        data: The whole file.
    """

    seconds: int
    format: str
    data: bytes

    @property
    def name(self) -> str:
        """A unique name."""
        return f"{self.seconds}s.{self.format}"


class Deck:
    """Deals clips so that every load, even a short one, gets the same mix of lengths.

    Lengths come in shuffled rounds with each length once. Formats have rounds of their own. After
    `close`, the current round is finished and no new one begins; the first round is always dealt.

    Args:
        clips: The clips to choose from.
        seed: Seed for the order.
    """

    def __init__(self, clips: Sequence[Clip], seed: int = SEED) -> None:
        if not clips:
            raise ValueError("the corpus has no clips of these lengths: choose other lengths")
        self._random = random.Random(seed)
        self._clips: dict[int, list[Clip]] = {}
        for clip in clips:
            self._clips.setdefault(clip.seconds, []).append(clip)
        self._round = self._shuffled()
        self._formats: list[str] = []
        self._closed = False

    def _shuffled(self) -> list[int]:
        return self._random.sample(list(self._clips), len(self._clips))

    def close(self) -> None:
        """Lets no new round begin."""
        self._closed = True

    def draw(self) -> Clip | None:
        """The next clip, or None after the last."""
        if not self._round:
            if self._closed:
                return None
            self._round = self._shuffled()
        clips = self._clips[self._round.pop()]
        if not self._formats:
            self._formats = self._random.sample(list(RATES), len(RATES))
        wanted = self._formats.pop()
        return self._random.choice([clip for clip in clips if clip.format == wanted] or clips)


def clips() -> list[Clip]:
    """One clip of each length in each format; the first call takes seconds to make the files."""
    recipe = repr((SEED, SECONDS, RATES, VOICES)).encode()
    folder = CACHE / hashlib.sha256(recipe).hexdigest()[:12]
    if not folder.is_dir():
        _make(folder)
    return [
        Clip(seconds, suffix, (folder / f"{seconds}s.{suffix}").read_bytes())
        for seconds in SECONDS
        for suffix in RATES
    ]


def _make(folder: Path) -> None:
    """Writes the files; they appear all together or not at all."""
    speech = np.concatenate([_read(SAMPLES / name) for name in VOICES])
    chance = random.Random(SEED)
    CACHE.mkdir(exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        for seconds in SECONDS:
            for suffix, rate in RATES.items():
                start = chance.randrange(len(speech))
                # Start anywhere, and repeat the speech until the clip is full.
                taken = np.resize(np.roll(speech, -start), seconds * SOURCE_RATE)
                samples = soxr.resample(taken, SOURCE_RATE, rate)
                encode(samples, rate, unfinished / f"{seconds}s.{suffix}")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _read(path: Path) -> npt.NDArray[np.float32]:
    """Speech as float32 [n] at SOURCE_RATE, mono."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono: npt.NDArray[np.float32] = soxr.resample(samples.mean(axis=1), rate, SOURCE_RATE)
    return mono
