"""One ONNX file to carry: a plain model, for people without Triton.

It takes a clip as it is, and has the normalisation, the layout and its weights inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.parser

from audio.layout import EXTRA_SLOTS, NORMALIZE_EPS, SAMPLE_RATE, SLOT, WINDOW
from export.contract import (
    EMBEDDING,
    FRAME_SCORES,
    FRAMES,
    LABELS,
    LONGEST,
    SCORES,
    WAVEFORM,
)  # fmt: skip
from export.errors import ExportError
from export.graph import PackedEncoder
from export.reference import Answer
from export.verify import CLEAR_MARGIN, Answerer, Tolerance, margin
from server.backends.onnxruntime.runtime import Session, open_session

INPUT = "waveform"
OUTPUTS = (SCORES.name, EMBEDDING.name, FRAME_SCORES.name)

LAYOUT = f"""
<ir_version: 10, opset_import: ["" : {PackedEncoder.opset}]>
layout (float[samples] {INPUT})
  => (float[laid_out] packed, int32[time] indices, float[laid_out] longest,
      int32[1, 2] packed_shape, int32[1, 1] indices_shape)
  <double epsilon = {{{NORMALIZE_EPS}}}, int64[1] slot = {{{SLOT}}},
   int64[1] front = {{{EXTRA_SLOTS * SLOT}}}, int64[1] first = {{{WINDOW - SLOT}}},
   int64 zero = {{0}}, int64 unit = {{1}}, int64[2] one_clip = {{1, -1}}, int64[0] scalar = {{}}>
{{
  exact = Cast <to = 11> ({INPUT})
  mean = ReduceMean <keepdims = 1> (exact)
  centred = Sub (exact, mean)
  squares = Mul (centred, centred)
  variance = ReduceMean <keepdims = 1> (squares)
  stable = Add (variance, epsilon)
  deviation = Sqrt (stable)
  scaled = Div (centred, deviation)
  normal = Cast <to = 1> (scaled)
  size = Shape ({INPUT})
  negative = Neg (size)
  back = Mod (negative, slot)
  pads = Concat <axis = 0> (front, back)
  packed = Pad (normal, pads)
  longest = Identity (packed)
  length = Shape (packed)
  slots = Div (length, slot)
  slots_by_slot = Concat <axis = 0> (slots, slot)
  narrow_shape = Cast <to = 6> (slots_by_slot)
  packed_shape = Reshape (narrow_shape, one_clip)
  behind = Sub (size, first)
  times = Div (behind, slot)
  narrow_times = Cast <to = 6> (times)
  indices_shape = Reshape (narrow_times, one_clip)
  last = Reshape (times, scalar)
  range = Range (zero, last, unit)
  indices = Cast <to = 6> (range)
}}
"""
"""`audio.layout.lay_out`, as a graph. A clip of n samples has (n - 400) // 320 + 1 frames, which is
(n - 80) // 320."""


def write(encoder: Path, target: Path, card: dict[str, Any]) -> None:
    """Joins the layout and the packed encoder into one file.

    Args:
        encoder: The encoder's model.onnx, with its weights beside it.
        target: The file to write.
        card: The model card, whose facts go into the file's metadata.

    Raises:
        ExportError: The file cannot be written.
    """
    packed = onnx.load(encoder)
    layout = onnx.parser.parse_model(LAYOUT)
    packed.ir_version = layout.ir_version
    # The layout's own input has the name of one of the encoder's.
    renamed = onnx.compose.add_prefix(packed, "encoder/")
    joined = onnx.compose.merge_models(
        layout,
        renamed,
        io_map=[
            ("packed", f"encoder/{WAVEFORM.name}"),
            ("indices", f"encoder/{FRAMES.name}"),
            ("longest", f"encoder/{LONGEST}"),
            ("packed_shape", "encoder/waveform_shape"),
            ("indices_shape", "encoder/frames_shape"),
        ],
        outputs=[f"encoder/{name}" for name in OUTPUTS],
    )
    _name_outputs(joined)
    facts = {
        "labels": json.dumps(LABELS),
        "sample_rate": str(SAMPLE_RATE),
        "frame_hop_seconds": str(SLOT / SAMPLE_RATE),
        "checkpoint": str(card["checkpoint"]),
        "revision": str(card["revision"]),
        "weights": str(card["weights"]),
        "precision": str(card["precision"]),
        "license": json.dumps(card["license"]),
    }
    onnx.helper.set_model_props(joined, facts)
    joined.doc_string = (
        "Speech emotion recognition. Input: one clip, float32 [n], mono at 16 kHz, n from 400. "
        "Outputs: scores [1, 9], embedding [1, D], frame_scores [T, 9]."
    )
    try:
        onnx.save(joined, target)
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot write {target}: {error}") from error


def open_portable(path: Path) -> Session:
    """Opens the file on plain ONNX Runtime.

    Raises:
        ExportError: ONNX Runtime cannot open it.
    """
    try:
        return open_session(path, {})
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"ONNX Runtime cannot open {path}: {error}") from error


def answer(session: Session, clip: np.ndarray) -> Answer:
    """Answers a clip, float32 [n] at 16 kHz; frames have no embedding."""
    scores, embedding, frame_scores = session.run({INPUT: clip}, OUTPUTS).values()
    return Answer(scores[0], embedding[0], frame_scores, np.zeros((len(frame_scores), 0)))


def check(
    session: Session,
    reference: Answerer,
    clips: Mapping[str, np.ndarray],
    tolerance: Tolerance,
) -> tuple[float, list[float]]:
    """Compares the file with FunASR, clip by clip.

    Args:
        session: From `open_portable`.
        reference: FunASR.
        clips: float32 [n] each, 16 kHz, by name.
        tolerance: How far it may be.

    Returns:
        The largest difference of a score; and for each clip whose strongest emotion is another
        than FunASR's, how far FunASR's own is ahead.

    Raises:
        ExportError: A clip is too far off, or a clear answer becomes another.
    """
    largest, flipped = 0.0, list[float]()
    for name, clip in clips.items():
        truth, found = reference(clip), answer(session, clip)
        scores = np.abs(found.scores - truth.scores).max()
        frames = np.abs(found.frame_scores - truth.frame_scores).max()
        apart = np.linalg.norm(found.embedding - truth.embedding)
        embedding = apart / np.linalg.norm(truth.embedding)
        # Written so that NaN fails.
        if not (
            scores <= tolerance.of_scores(len(clip))
            and frames <= tolerance.frame_scores
            and embedding <= tolerance.embedding
        ):
            raise ExportError(
                f"the portable file is too far from FunASR on {name}: scores {scores:.1e}, frame "
                f"scores {frames:.1e}, embedding {embedding:.1e}"
            )
        largest = max(largest, float(scores))
        if found.scores.argmax() != truth.scores.argmax():
            flipped.append(margin(truth.scores))
            if flipped[-1] > CLEAR_MARGIN:
                raise ExportError(
                    f"the portable file answers {LABELS[found.scores.argmax()]} for {name}, and "
                    f"FunASR {LABELS[truth.scores.argmax()]}, which is ahead by {flipped[-1]:.2f}"
                )
    return largest, flipped


def _name_outputs(model: onnx.ModelProto) -> None:
    """Gives the outputs their own names again."""
    for output in model.graph.output:
        old, output.name = output.name, output.name.removeprefix("encoder/")
        for node in model.graph.node:
            node.output[:] = [output.name if name == old else name for name in node.output]
            node.input[:] = [output.name if name == old else name for name in node.input]
