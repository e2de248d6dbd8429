"""The command ``emotion2vec``."""

from __future__ import annotations

import argparse
import io
import json
import sys

from emotion2vec_client.client import Client
from emotion2vec_client.errors import Emotion2VecError
from emotion2vec_client.labels import LABELS
from emotion2vec_client.protocol import MODELS
from emotion2vec_client.result import Prediction

BAR_WIDTH = 40
EIGHTHS = " ▏▎▍▌▋▊▉"

RANDOM_WARNING = (
    "⚠  RANDOM WEIGHTS: these scores mean nothing. Export a real checkpoint with 'make export'.\n"
    "⚠  随机权重：以下分数没有任何意义。请用 'make export' 导出真实模型。"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0 good, 1 failed, 130 interrupted. Wrong usage exits with 2 by itself.
    """
    parser = argparse.ArgumentParser(
        prog="emotion2vec",
        description="Recognise the emotion of speech with an emotion2vec-triton server.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser(
        "predict",
        help="recognise the emotion of one file",
        epilog="example: emotion2vec predict samples/happy.wav",
    )
    predict.add_argument(
        "file", help="WAV, MP3, M4A, FLAC, OGG or Opus; 25 ms to 30 s, up to 10 MB"
    )
    predict.add_argument(
        "--url", default="localhost:8001", help="host:port of the server's gRPC (%(default)s)"
    )
    predict.add_argument(
        "--granularity",
        choices=tuple(MODELS),
        default="utterance",
        help="frame adds the course of the emotion to the JSON",
    )
    predict.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    try:
        with Client(options.url) as client:
            prediction = client.predict(options.file, granularity=options.granularity)
    except OSError as error:
        reason = error.strerror or error
        print(f"emotion2vec: cannot read {options.file}: {reason}", file=sys.stderr)
        return 1
    except (Emotion2VecError, ValueError) as error:
        print(f"emotion2vec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no Chinese shall show question marks and not a traceback.
        sys.stdout.reconfigure(errors="replace")
    if options.json:
        print(json.dumps(prediction.to_dict(), ensure_ascii=False, indent=2))
    else:
        print(describe(prediction))
    return 0


def describe(prediction: Prediction) -> str:
    """A prediction for people: the emotion, and all nine scores as bars."""
    label = prediction.label
    lines = [RANDOM_WARNING, ""] if prediction.weights == "random" else []
    lines += [
        f"{label.emoji}  {label.chinese} / {label.name}   {percent(prediction.confidence)}",
        "",
    ]
    for each in sorted(LABELS, key=lambda label: -prediction.scores[label.name]):
        score = prediction.scores[each.name]
        # All emojis are two columns wide and all Chinese names four, so only English needs padding.
        name = f"{each.emoji} {each.chinese} {each.name:<9}"
        lines.append(f"{name} {percent(score):>7} {bar(score)}".rstrip())
    return "\n".join(lines)


def percent(score: float) -> str:
    """A score from 0 to 1 as people read it, such as ``85.3 %``."""
    return f"{100 * score:.1f} %"


def bar(score: float) -> str:
    """A bar of up to ``BAR_WIDTH`` columns for a score from 0 to 1."""
    whole, eighths = divmod(round(score * BAR_WIDTH * 8), 8)
    return ("█" * whole + EIGHTHS[eighths]).rstrip()
