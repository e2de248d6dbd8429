"""``python -m export``: checkpoint -> graph -> ONNX -> checked against FunASR -> installed."""

from __future__ import annotations

import argparse
import importlib.metadata
import secrets
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, HubUnreachableError

if TYPE_CHECKING:
    from server.backends.onnxruntime.runtime import Session

ROOT = Path(__file__).resolve().parent.parent
TOOLS = (
    *("torch", "funasr", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "tensorrt", "numpy"),
)
"""Packages whose versions the model card names, where they are installed."""
RANDOM_WARNING = """
  ############################################################################
  ##  RANDOM WEIGHTS: no model hub can be reached from here, so the service ##
  ##  gets the full-size architecture with seeded random numbers in it.     ##
  ##  Everything works and is as fast as with real weights, but the         ##
  ##  emotions it names MEAN NOTHING. With a network: make export           ##
  ############################################################################
"""


def main(argv: list[str] | None = None) -> int:
    """Exports one checkpoint; returns the exit code."""
    options = _parse(argv)
    try:
        _export(options)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("export: stopped, nothing was installed", file=sys.stderr)
        return 130
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument(
        "--checkpoint",
        metavar="NAME|DIR|random[:SIZE]",
        help="a hub's name, a folder with config.yaml, tokens.txt and model.pt, or random weights "
        "of size large, base or seed (default: emotion2vec_plus_large from the hub)",
    )
    parser.add_argument("--hub", choices=("modelscope", "huggingface"), default="modelscope")
    parser.add_argument("--revision", help="of the hub's checkpoint (default: a pinned one)")
    parser.add_argument("--target", choices=("cpu", "cuda", "tensorrt"), default="cpu")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="auto: the fastest that the hardware computes itself and that passes the comparison "
        "with FunASR (default: %(default)s)",
    )
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--samples", type=Path, default=ROOT / "samples", help="also verified on")
    parser.add_argument("--seed", type=int, help="of the random clips (default: a fresh one)")
    parser.add_argument(
        "--random-if-unreachable",
        action="store_true",
        help="where no hub can be reached, go on with random:large instead of failing",
    )
    return parser.parse_args(argv)


def _export(options: argparse.Namespace) -> None:
    # Imported late: --help and wrong arguments must not wait for FunASR.
    from export.targets import check

    check(options.target, options.precision)
    _say("loading PyTorch and FunASR ...")
    from export.checkpoint import load_folder
    from export.hub import DEFAULT_NAMES, fetch
    from export.random_checkpoint import random_checkpoint

    name = options.checkpoint or DEFAULT_NAMES[options.hub]
    if name.split(":")[0] == "random":
        checkpoint = random_checkpoint(name.partition(":")[2] or "large")
    elif Path(name).is_dir():
        checkpoint = load_folder(Path(name))
    else:
        try:
            download = fetch(name, options.hub, options.revision)
            checkpoint = load_folder(download.folder, name, download.revision)
        except HubUnreachableError as error:
            if not options.random_if_unreachable:
                raise
            print(f"export: {error}\n{RANDOM_WARNING}", file=sys.stderr)
            checkpoint = random_checkpoint("large")
    _say(f"checkpoint {checkpoint.source}")
    for line in checkpoint.report:
        _say(line)
    _build(checkpoint, options)


def _build(checkpoint: Any, options: argparse.Namespace) -> None:
    from export import install, verify
    from export.config import ENCODER
    from export.reference import Reference
    from export.targets import TARGETS

    automatic = options.precision == "auto"
    target = TARGETS[options.target]
    precisions = target.precisions() if automatic else [options.precision]
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    clips = verify.test_clips(options.samples, seed)
    # A build of its own: exporting changes a model.
    reference = verify.remembered(Reference(checkpoint, checkpoint.build()).run)
    with install.staging(options.model_repository) as stage:
        for precision in precisions:
            card = _card(checkpoint, options.target, precision)
            session = _write(checkpoint, stage, card)
            _say(f"comparing with FunASR, on the runtime that will serve it (--seed {seed}) ...")
            started = time.monotonic()
            rows = verify.compare(session.run, reference, clips, target.max_batch_size)
            tolerance = verify.TOLERANCES[precision]
            print(verify.table(rows, tolerance))
            if all(row.within(tolerance) for row in rows):
                break
            if precision != precisions[-1]:
                _say(f"{precision} is too far from FunASR with these weights: trying the next")
        else:
            raise ExportError("the graph is too far from FunASR: nothing was installed")
        _say(f"verified {len(rows)} clips in {time.monotonic() - started:.0f} s in {precision}")
        card["verified"] = {"seed": seed, "rows": [row.to_dict() for row in rows]}
        install.write_model_files(stage, card)
        install.install(stage, options.model_repository)
    _say(f"installed into {options.model_repository / ENCODER}")


def _write(checkpoint: Any, stage: Path, card: dict[str, Any]) -> Session:
    """Writes the model, and opens it as the configuration that will serve it says."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from export.config import encoder_config
    from export.graph import PackedEncoder
    from export.onnx import write_onnx
    from export.targets import TARGETS
    from server.backends.onnxruntime.runtime import open_session

    _say(f"writing the ONNX graph in {card['precision']} ...")
    path = stage / "1" / "model.onnx"
    encoder = PackedEncoder(checkpoint.build(), checkpoint.label_order())
    write_onnx(encoder, path, card["precision"])
    if card["target"] == "tensorrt":
        from export.plan import PlanSession, build_plan

        target = TARGETS["tensorrt"]
        _say("building the TensorRT plan on this GPU (minutes) ...")
        plan = path.with_name(target.model_file)
        build_plan(path, plan, target.max_batch_size)
        for part in (path, path.with_name(f"{path.name}.data")):
            part.unlink()
        return PlanSession(plan)
    config = json_format.MessageToDict(
        text_format.Parse(encoder_config(card), ModelConfig()),
        preserving_proto_field_name=True,
    )
    try:
        return open_session(path, config)
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"cannot open the graph to verify it: {error}") from error


def _card(checkpoint: Any, target: str, precision: str) -> dict[str, Any]:
    from export.contract import LABELS
    from export.onnx import OPSET

    return {
        "checkpoint": checkpoint.source,
        "revision": checkpoint.revision,
        "sha256": checkpoint.sha256,
        "weights": checkpoint.weights,
        "embed_dim": checkpoint.model_conf["embed_dim"],
        "labels": list(LABELS),
        "target": target,
        "precision": precision,
        "opset": OPSET,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "tools": {
            package.name: package.version
            for package in importlib.metadata.distributions()
            if package.name in TOOLS
        },
    }


def _say(line: str) -> None:
    print(f"export: {line}", flush=True)


if __name__ == "__main__":
    # So that the staging folder goes away when the export is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
