"""How much CPU time a clip of 30 s takes before the encoder: ``python -m benchmarks.decoding``.

For each format: the decoder in this process, the confined process that decodes in the service, and
what the model `preprocess` does itself (sending the file, receiving samples, layout).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from audio.decoding import decode
from audio.layout import lay_out
from audio.limits import Limits
from audio.sandbox import Decoder
from benchmarks.launch import ROOT, SAMPLES
from benchmarks.tables import table
from samples.make import encode

SECONDS = 30
SOURCES = ((16_000, 1), (44_100, 1), (44_100, 2), (48_000, 2))
"""Sample rate and channels."""
SUFFIXES = ("wav", "flac", "mp3", "m4a", "ogg", "opus")
BITS = 96_000
"""Bits per second and channel."""


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    options = parser.parse_args()
    config = (ROOT / "model_repository" / "preprocess" / "config.pbtxt").read_text("utf-8")
    parsed = json_format.MessageToDict(
        text_format.Parse(config, ModelConfig()), preserving_proto_field_name=True
    )
    limits = Limits.read(parsed["parameters"])
    decoder = Decoder(limits)
    rows = []
    try:
        for name, data in clips().items():
            rows.append([name, *measure(data, decoder, limits, options.rounds)])
    finally:
        decoder.close()
    head = ["30 s as", "decoder alone", "confined process", "preprocess itself"]
    print(table(head, rows))


def clips() -> dict[str, bytes]:
    """Speech of 30 s in each format, by name."""
    speech, rate = soundfile.read(SAMPLES / "story.ogg", dtype="float32", always_2d=True)
    mono = np.resize(speech.mean(axis=1), SECONDS * rate)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for new, channels in SOURCES:
            samples = soxr.resample(mono, rate, new).astype(np.float32)
            for suffix in SUFFIXES:
                if suffix == "opus" and new not in (16_000, 48_000):
                    continue
                path = Path(folder) / f"clip.{suffix}"
                wide = np.stack([samples] * channels, axis=1) if channels > 1 else samples
                encode(wide, new, path, bits_per_channel=BITS)
                kind = "stereo" if channels > 1 else "mono"
                found[f"{suffix}, {new / 1000:g} kHz, {kind}"] = path.read_bytes()
    return found


def measure(data: bytes, decoder: Decoder, limits: Limits, rounds: int) -> list[str]:
    """The three times of one file; medians for this process, a mean for the other."""
    decode(data, limits)
    decoder.decode(data)
    alone = statistics.median(_seconds(lambda: decode(data, limits)) for _ in range(rounds))
    before = _of_process(decoder)
    own = statistics.median(
        _seconds(lambda: lay_out(decoder.decode(data).samples)) for _ in range(rounds)
    )
    confined = (_of_process(decoder) - before) / rounds
    return [f"{1000 * value:.0f} ms" for value in (alone, confined, own)]


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _of_process(decoder: Decoder) -> float:
    fields = (decoder.process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
