"""Runs one export, from its options to the model in the repository."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from export import demonstration, install, ladder, portable, samples, verify
from export.card import describe, model_card
from export.checkpoint import Checkpoint, load_folder
from export.config import ENCODER
from export.download import fetch
from export.errors import ExportError, HubUnreachableError
from export.onnx import encoder_for, write_onnx
from export.progress import say, step
from export.reference import Reference
from export.replica import random_checkpoint
from export.targets import TARGETS, Target
from export.write import quantized, write
from server.backends.onnxruntime.runtime import Session

FALLBACKS = {
    "demonstration": "continuing with the small demonstration model of this project; "
    "demo/checkpoint/README.md says how good it is. For emotion2vec+: make export, with a network",
    "random": "continuing with random weights of full size: everything is as fast as with real "
    "ones, but THE EMOTIONS THAT IT NAMES MEAN NOTHING. With a network: make export",
}
"""What ``--if-unreachable`` can choose, and what is said then."""


def run(options: argparse.Namespace) -> None:
    """Exports one checkpoint.

    Args:
        options: The options of ``python -m export``.

    Raises:
        ExportError: It cannot be exported, or its answers are too far from FunASR's. Then nothing
            is installed.
    """
    checkpoint = _checkpoint(options)
    say(f"checkpoint {checkpoint.source}")
    for line in checkpoint.report:
        say(line)
    if options.portable is not None:
        _portable(checkpoint, options)
        return
    target = TARGETS[options.target]
    precisions = target.precisions() if options.precision == "auto" else [options.precision]
    clips = samples.test_clips(options.verify_with or samples.SAMPLES, options.seed)
    # A separate build, because exporting changes a model.
    reference = verify.cached(Reference(checkpoint, checkpoint.build()).run)
    rungs = None
    if options.ladder:
        rungs = ladder.climb(checkpoint, options.target, reference, clips, options.calibrate)
        print(ladder.table(rungs), flush=True)
    with install.staging(options.model_repository) as stage:
        for precision in precisions:
            card = model_card(checkpoint, options.target, precision)
            session = write(checkpoint, stage / "1", card, options.calibrate)
            rows = _verified(session, reference, clips, target, precision, options.seed)
            if rows:
                break
            if precision != precisions[-1]:
                say(f"{precision} is too far from FunASR with these weights: trying the next")
        else:
            raise ExportError("the graph is too far from FunASR: nothing was installed")
        card["verified"] = {"seed": options.seed, "rows": [row.to_dict() for row in rows]}
        if rungs is not None:
            card["ladder"] = [rung.to_dict() for rung in rungs]
        install.write_model_files(stage, card)
        install.install(stage, options.model_repository)
    say(f"installed into {options.model_repository / ENCODER}")
    for line in describe(card):
        say(line)


def _portable(checkpoint: Checkpoint, options: argparse.Namespace) -> None:
    """Writes one ONNX file for plain ONNX Runtime, and installs nothing."""
    precision = "fp32" if options.precision == "auto" else options.precision
    if precision == "bf16":
        raise ExportError(
            "--portable has no bf16, which ONNX Runtime cannot compute on a CPU: use fp32 or fp16"
        )
    if not options.portable.absolute().parent.is_dir():
        raise ExportError(f"there is no folder {options.portable.parent}: create it first")
    card = model_card(checkpoint, "cpu", precision)
    clips = samples.test_clips(options.verify_with or samples.SAMPLES, options.seed)
    target: Path = options.portable
    with tempfile.TemporaryDirectory(dir=target.absolute().parent) as folder:
        encoder, file = Path(folder) / "model.onnx", Path(folder) / target.name
        model = encoder_for("cpu", checkpoint)
        if precision == "int8":
            card["int8"] = quantized(model, options.calibrate)
        with step(f"writing {target} in {precision}"):
            write_onnx(model, encoder, precision)
            portable.write(encoder, file, card)
        with step("comparing with FunASR, on plain ONNX Runtime"):
            reference = Reference(checkpoint, checkpoint.build()).run
            tolerance = verify.TOLERANCES[precision]
            session = portable.open_portable(file)
            largest, flipped = portable.check(session, reference, clips, tolerance)
        file.replace(target)
    size = target.stat().st_size / 1e6
    say(f"scores are within {largest:.1e} of FunASR's on {len(clips)} clips")
    say(verify.flips(flipped, len(clips)))
    say(f"wrote {target} ({size:,.0f} MB)")
    for line in describe(card):
        say(line)


def _checkpoint(options: argparse.Namespace) -> Checkpoint:
    name = options.checkpoint
    if name and name.split(":")[0] == "random":
        return random_checkpoint(name.partition(":")[2] or "large")
    if name and demonstration.is_asked_for(name):
        return demonstration.load()
    if name and Path(name).is_dir():
        return load_folder(Path(name))
    try:
        download = fetch(name, options.hub, options.revision)
    except HubUnreachableError as error:
        if options.if_unreachable == "fail":
            raise
        print(f"export: {error}\nexport: {FALLBACKS[options.if_unreachable]}", file=sys.stderr)
        if options.if_unreachable == "random":
            return random_checkpoint("large")
        return demonstration.load()
    return load_folder(download.folder, download.name, download.revision, download.files)


def _verified(
    session: Session,
    reference: verify.Answerer,
    clips: dict[str, Any],
    target: Target,
    precision: str,
    seed: int,
) -> list[verify.Row]:
    """Compares with FunASR and prints the table; returns no rows if a clip is too far off."""
    began = time.monotonic()
    say(f"the random clips for the comparison come from --seed {seed}")
    with step("comparing with FunASR, on the runtime that will serve it") as at:
        rows = verify.compare(session.run, reference, clips, target.max_batch_size, at)
    tolerance = verify.TOLERANCES[precision]
    print(verify.table(rows, tolerance), flush=True)
    say(verify.flips([row.margin for row in rows if row.flipped], len(rows)))
    if not all(row.within(tolerance) for row in rows):
        return []
    say(f"verified {len(rows)} clips in {time.monotonic() - began:.0f} s in {precision}")
    return rows
