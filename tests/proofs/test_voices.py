"""How well voices on one channel are told apart, with the model that `make voices` installs."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from benchmarks.service import Service
from benchmarks.tables import table
from emotion2vec_client import Client
from export.voices import INSTALLED
from tests.conftest import SAMPLES
from tests.fuzz.limits import LIMITS
from tests.scenarios.calls import Call, call, share_right

EMODB = os.environ.get("EMODB")
"""Folder of Emo-DB, whose file names begin with the speaker; else synthetic voices speak."""

CALLS = int(os.environ.get("CALLS", "12"))
SECONDS = 120
GAPS = {"pauses of 0.2 to 1.5 s": (0.2, 1.5), "0.3 s of overlap to 0.6 s": (-0.3, 0.6)}
LEAST = 0.95

SYNTHETIC = {
    "a man": ["sad.mp3"],
    "a German": ["angry.flac"],
    "a woman": ["happy.wav"],
    "a girl": ["fearful.m4a"],
    "an American": ["neutral.wav"],
    "a Chinese": ["mandarin.ogg"],
}


def voices() -> dict[str, list[np.ndarray]]:
    """Utterances by speaker, float32 [n] at 16 kHz."""
    if EMODB is None:
        files = {name: [SAMPLES / each for each in own] for name, own in SYNTHETIC.items()}
    else:
        paths = sorted(Path(EMODB).glob("*.flac")) or sorted(Path(EMODB).glob("wav/*.wav"))
        files = {
            name: list(own) for name, own in itertools.groupby(paths, lambda each: each.name[:2])
        }
    return {
        name: [decode(path.read_bytes(), LIMITS).samples for path in own]
        for name, own in files.items()
    }


def right(client: Client, spoken: Call, speakers: int | str) -> tuple[float, int]:
    """Share of the speech time with the right speaker, and how many were found."""
    found = client.timeline((spoken.mixed, SAMPLE_RATE), speakers=speakers)  # type: ignore[arg-type]
    names = [speaker.name for speaker in found.speakers]
    if len(names) > 2:
        # The two that speak most; the others are wrong.
        names = sorted(names, key=lambda name: -found.speaker_seconds[name])
    segments = [(names.index(str(each.speaker)), each.start, each.end) for each in found.segments]
    share = share_right([each for each in segments if each[0] < 2], spoken.turns)
    kept = sum(found.speaker_seconds[name] for name in names[:2])
    return share * kept / sum(found.speaker_seconds.values()), len(names)


def test_voices_on_one_channel(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    assert (repository / INSTALLED).is_file(), "there is no model: run `make voices`"
    spoken = voices()
    random = np.random.default_rng(0)
    pairs = list(itertools.combinations(spoken, 2))
    chosen = [pairs[number] for number in random.permutation(len(pairs))[:CALLS]]
    rows = []
    with Service(repository, outputs=tmp_path) as service:
        service.wait_until_ready()
        with Client(service.grpc_url, timeout=600) as client:
            for title, gaps in GAPS.items():
                shares: dict[int | str, list[float]] = {2: [], "auto": []}
                counted = 0
                for number, pair in enumerate(chosen):
                    made = call((spoken[pair[0]], spoken[pair[1]]), SECONDS, gaps, seed=number)
                    for speakers, own in shares.items():
                        share, count = right(client, made, speakers)
                        own.append(share)
                        counted += speakers == "auto" and count == 2
                        print(title, pair, speakers, f"{share:.3f}", count, flush=True)
                for speakers, own in shares.items():
                    two = f"{counted} of {len(chosen)}" if speakers == "auto" else ""
                    values = [f"{100 * value:.1f} %" for value in (np.mean(own), min(own))]
                    rows.append([title, speakers, *values, two])
                assert np.mean(shares[2]) >= LEAST
            seconds = {}
            for speakers in (1, 2):
                began = time.monotonic()
                client.timeline((made.mixed, SAMPLE_RATE), speakers=speakers)
                seconds[speakers] = time.monotonic() - began
    who = "speakers of Emo-DB" if EMODB else "synthetic voices"
    show(f"{len(chosen)} calls of {SECONDS} s between two {who}\n")
    show(table(["turns", "speakers", "right", "worst call", "two found"], rows))
    show(f"\none call: {seconds[1]:.1f} s with speakers=1, {seconds[2]:.1f} s with speakers=2")
