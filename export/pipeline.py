"""Runs one export, from its options to the model in the repository."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from export import demonstration, install, verify
from export.card import describe, model_card
from export.checkpoint import Checkpoint, load_folder
from export.config import ENCODER, encoder_config
from export.download import fetch
from export.errors import ExportError, HubUnreachableError
from export.onnx import encoder_for, write_onnx
from export.progress import say, step
from export.reference import Reference
from export.replica import random_checkpoint
from export.targets import TARGETS, Target
from server.backends.onnxruntime.runtime import Session, open_session

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
    target = TARGETS[options.target]
    precisions = target.precisions() if options.precision == "auto" else [options.precision]
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    clips = verify.test_clips(options.samples, seed)
    # A separate build, because exporting changes a model.
    reference = verify.cached(Reference(checkpoint, checkpoint.build()).run)
    with install.staging(options.model_repository) as stage:
        for precision in precisions:
            card = model_card(checkpoint, options.target, precision)
            session = _write(checkpoint, stage, card)
            rows = _verified(session, reference, clips, target, precision, seed)
            if rows:
                break
            if precision != precisions[-1]:
                say(f"{precision} is too far from FunASR with these weights: trying the next")
        else:
            raise ExportError("the graph is too far from FunASR: nothing was installed")
        card["verified"] = {"seed": seed, "rows": [row.to_dict() for row in rows]}
        install.write_model_files(stage, card)
        install.install(stage, options.model_repository)
    say(f"installed into {options.model_repository / ENCODER}")
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


def _write(checkpoint: Checkpoint, stage: Path, card: dict[str, Any]) -> Session:
    """Writes the model, and opens it with the configuration that will serve it."""
    path = stage / "1" / "model.onnx"
    with step(f"writing the ONNX graph in {card['precision']}"):
        write_onnx(encoder_for(card["target"], checkpoint), path, card["precision"])
    if card["target"] == "tensorrt":
        # Imported here, because TensorRT may not be installed.
        from export.plan import PlanSession, build_plan

        target = TARGETS["tensorrt"]
        plan = path.with_name(target.model_file)
        with step("building the TensorRT plan on this GPU"):
            build_plan(path, plan, card["precision"], target.max_batch_size)
        for part in (path, path.with_name(f"{path.name}.data")):
            part.unlink()
        return PlanSession(plan)
    # `install.write_model_files` makes the configuration again, because the card then has
    # `verified`.
    config = json_format.MessageToDict(
        text_format.Parse(encoder_config(card), ModelConfig()),
        preserving_proto_field_name=True,
    )
    try:
        with step("opening the graph on the runtime that will serve it"):
            return open_session(path, config)
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"cannot open the graph to verify it: {error}") from error


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
    say(verify.flips(rows))
    if not all(row.within(tolerance) for row in rows):
        return []
    say(f"verified {len(rows)} clips in {time.monotonic() - began:.0f} s in {precision}")
    return rows
