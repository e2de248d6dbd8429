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
from demo.folds import leave_one_speaker_out
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
        card.check_samples()
        recordings = corpus.read(options.corpus)
        speakers = {recording.speaker for recording in recordings}
        if HELD_OUT not in speakers or len(speakers) < 2:
            raise ValueError(
                f"{options.corpus} has recordings of speaker {', '.join(sorted(speakers))}, but "
                f"{HELD_OUT} and another one are needed"
            )
    except (OSError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    began = time.monotonic()

    def progress(words: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {words}", flush=True)

    scores = torch.empty(len(recordings), len(LABELS))
    models = {}
    for fold in leave_one_speaker_out(recordings, settings or Settings(), SEED, progress):
        scores[torch.from_numpy(fold.left_out)] = fold.scores
        models[fold.speaker] = fold.model
    # All at once and at the end, because what is there still serves.
    state = {name: tensor.half() for name, tensor in models[HELD_OUT].state_dict().items()}
    write_folder(options.output, model.described(), {"model": stored_members(state)["model"]})
    card.write(options.output, recordings, scores, HELD_OUT)
    progress(f"wrote {options.output}")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("corpus", type=Path, help="a folder with Emo-DB's recordings")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, help="the checkpoint's folder")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
