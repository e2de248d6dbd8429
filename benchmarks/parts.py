"""Measures how large the parts of a batch should be on a CPU.

``python -m benchmarks.parts [--batches 12]``, from the root, with nothing else running. It opens
the installed encoder in this process, draws batches of four clips, and computes each batch with
every limit. It prints how much faster each limit is than one clip at a time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from audio.layout import SAMPLE_RATE
from export.batch import pack
from server.backends.onnxruntime.parts import split
from server.backends.onnxruntime.runtime import Session, open_session

ENCODER = Path(__file__).parents[1] / "model_repository" / "encoder"
ALONE = 1
LIMITS = (ALONE, 8, 13, 16, 25, None)
"""Limits on a part: number of clips times its longest clip in seconds. None: no limit."""
RANGES = ((1, 30), (1, 10), (1, 4))
"""Shortest and longest clip, in seconds; lengths are log-uniform."""


def main() -> None:
    """Measures and prints the gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=12, help="batches per range of lengths")
    options = parser.parse_args()
    text = (ENCODER / "config.pbtxt").read_text(encoding="utf-8")
    config = json_format.MessageToDict(
        text_format.Parse(text, ModelConfig()), preserving_proto_field_name=True
    )
    session = open_session(ENCODER / "1" / "model.onnx", config)
    random = np.random.default_rng(0)
    for seconds in (1, 3, 10, 30):
        compute(session, [noise(random, seconds)])
    for low, high in RANGES:
        spent = dict.fromkeys(LIMITS, 0.0)
        for _ in range(options.batches):
            lengths = np.exp(random.uniform(np.log(low), np.log(high), 4))
            clips = [noise(random, length) for length in lengths]
            for number in random.permutation(len(LIMITS)):
                limit = LIMITS[number]
                samples = None if limit is None else limit * SAMPLE_RATE
                for part in split([len(clip) for clip in clips], samples):
                    spent[limit] += compute(session, [clips[position] for position in part])
        names = {limit: f"{limit} s" if limit else "the whole batch" for limit in LIMITS}
        gains = [
            f"{name} {spent[ALONE] / spent[limit]:.2f}x"
            for limit, name in names.items()
            if limit != ALONE
        ]
        print(f"clips of {low} to {high} s: {', '.join(gains)}", flush=True)


def noise(random: np.random.Generator, seconds: float) -> np.ndarray:
    """A clip of noise, float32 [n]; the content does not affect the time."""
    return random.standard_normal(int(seconds * SAMPLE_RATE)).astype(np.float32)


def compute(session: Session, clips: list[np.ndarray]) -> float:
    """Seconds that a part takes."""
    inputs = pack(clips).inputs()
    started = time.perf_counter()
    session.run(inputs, ["scores", "embedding"])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
