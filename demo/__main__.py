"""``python -m demo EMODB``: trains the demonstration model, and measures how good it is.

Leaves out each speaker in turn, trains on the others, and asks about the one left out. The weights
of one of these trainings ship.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from demo import card, corpus, model
from demo.folds import folds
from demo.training import Settings
from export.contract import LABELS
from export.demonstration import FOLDER
from export.replica import stored_members, write_folder

SEED = 21
HELD_OUT = "13"
"""The speaker whom the shipped weights never heard; samples/real/ has recordings of hers."""


def main(argv: list[str] | None = None, settings: Settings | None = None) -> int:
    """Returns the exit code."""
    options = _parse(argv)
    try:
        recordings = corpus.read(options.corpus)
        speakers = sorted({recording.speaker for recording in recordings})
        if HELD_OUT not in speakers:
            raise ValueError(f"{options.corpus} has no recording of speaker {HELD_OUT}")
    except (OSError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    torch.set_num_threads(options.threads)
    began = time.monotonic()

    def progress(words: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {words}", flush=True)

    without = folds(recordings, settings or Settings(), SEED, progress)
    scores = torch.empty(len(recordings), len(LABELS))
    for speaker in speakers:
        fold = without(speaker)
        scores[torch.from_numpy(fold.chosen)] = fold.scores
        if speaker == HELD_OUT:
            state = {name: tensor.half() for name, tensor in fold.model.state_dict().items()}
            members = {"model": stored_members(state)["model"]}
            write_folder(options.output, model.described(), members)
    card.write(options.output, recordings, scores, HELD_OUT)
    progress(f"wrote {options.output}")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("corpus", type=Path, help="a folder with Emo-DB's recordings")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, help="the checkpoint's folder")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
