"""``python -m export``: exports a checkpoint to ONNX, checks it against FunASR and installs it."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from export.errors import ExportError
from export.progress import step
from export.targets import check

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Exports one checkpoint; returns the exit code."""
    options = _parse(argv)
    try:
        if options.portable is None:
            # A portable file is for any machine, so it may be in what this one cannot compute.
            check(options.target, options.precision)
        for folder in (options.verify_with, options.calibrate):
            if folder is not None and not folder.is_dir():
                raise ExportError(f"there is no folder {folder}")
        if options.calibrate and options.precision != "int8" and not options.ladder:
            raise ExportError("--calibrate is for --precision int8, or for --ladder")
        if options.portable and options.ladder:
            raise ExportError("--portable installs nothing: leave out --ladder")
        # Imported late: --help and wrong options must not wait for PyTorch and FunASR.
        with step("loading PyTorch and FunASR"):
            from export import pipeline
        pipeline.run(options)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("export: stopped, nothing was installed", file=sys.stderr)
        return 130
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument("--version", action="version", version=version("emotion2vec-client"))
    parser.add_argument(
        "--checkpoint",
        metavar="NAME|DIR|demonstration|random[:SIZE]",
        help="a name on a hub, a folder with config.yaml, tokens.txt and model.pt, the small "
        "demonstration model of this project, or random weights of size large, base or seed "
        "(default: emotion2vec_plus_large from a hub)",
    )
    parser.add_argument(
        "--hub",
        choices=("modelscope", "huggingface"),
        help="where to download from (default: the first hub that has the checkpoint)",
    )
    parser.add_argument(
        "--revision",
        help="revision on the hub (default: the pinned one for emotion2vec_plus_large, otherwise "
        "the newest)",
    )
    parser.add_argument("--target", choices=("cpu", "cuda", "tensorrt"), default="cpu")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        default="auto",
        help="auto: the fastest that the hardware computes natively and that passes the comparison "
        "with FunASR, but never int8 (default: %(default)s)",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="for int8: recordings like those that will be recognised (default: samples/)",
    )
    parser.add_argument(
        "--ladder",
        action="store_true",
        help="first compare all precisions of the target: speed, errors, changed answers, memory",
    )
    parser.add_argument(
        "--portable",
        type=Path,
        metavar="FILE.onnx",
        help="write one plain ONNX file, for use without Triton, and install nothing",
    )
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument(
        "--verify-with",
        type=Path,
        metavar="DIR",
        help="recordings on which the graph is compared with FunASR (default: samples/)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random clips (default: %(default)s)"
    )
    parser.add_argument(
        "--if-unreachable",
        choices=("fail", "demonstration", "random"),
        default="fail",
        help="what to do if no hub can be reached (default: %(default)s)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    # So that the staging folder is removed if the export is terminated.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
