"""Writes an export's model, and opens it with the runtime that will serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from export import samples
from export.checkpoint import Checkpoint
from export.config import encoder_config
from export.errors import ExportError
from export.graph import PackedEncoder
from export.onnx import encoder_for, write_onnx
from export.progress import say, step
from export.quantize import MOST_CLIPS, quantize
from export.targets import TARGETS
from server.backends.onnxruntime.runtime import Session, open_session

MODEL = "model.onnx"


def write(
    checkpoint: Checkpoint, folder: Path, card: dict[str, Any], calibrate: Path | None
) -> Session:
    """Writes the model, and opens it.

    Args:
        checkpoint: The weights.
        folder: Where to write; it exists.
        card: The model card, which names target and precision. For int8 this adds how it was
            calibrated.
        calibrate: Folder of recordings for int8; None for the project's samples.

    Raises:
        ExportError: It cannot be written, or the runtime cannot open it.
    """
    path = folder / MODEL
    encoder = encoder_for(card["target"], checkpoint)
    if card["precision"] == "int8":
        card["int8"] = quantized(encoder, calibrate)
    with step(f"writing the ONNX graph in {card['precision']}"):
        write_onnx(encoder, path, card["precision"])
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
    try:
        with step("opening the graph on the runtime that will serve it"):
            return open_session(path, configuration(card))
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"cannot open the graph to verify it: {error}") from error


def configuration(card: dict[str, Any]) -> dict[str, Any]:
    """The encoder's config.pbtxt, as Triton gives it to a backend."""
    parsed = text_format.Parse(encoder_config(card), ModelConfig())
    result: dict[str, Any] = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    return result


def quantized(encoder: PackedEncoder, folder: Path | None) -> dict[str, Any]:
    """Puts an encoder into int8; returns what the model card says about it.

    Args:
        encoder: Changed in place.
        folder: Recordings to calibrate on; None for the project's samples.

    Raises:
        ExportError: There is no recording, or int8 changes the answers too much.
    """
    name = "the project's own samples" if folder is None else str(folder)
    clips = samples.recordings(folder or samples.SAMPLES, MOST_CLIPS)
    with step(f"calibrating int8 on {len(clips)} recordings of {name}") as at:
        done = quantize(encoder, list(clips.values()), at)
    if folder is None:
        say("better: --calibrate DIR with recordings like those that will be recognised")
    kept = f", and {len(done.kept)} stay in floating point" if done.kept else ""
    say(f"{len(done.layers)} layers are in int8{kept}")
    return {
        "recordings": name,
        "count": len(clips),
        "layers": list(done.layers),
        "kept": done.kept,
    }
