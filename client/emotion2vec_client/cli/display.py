"""Output for a terminal: bars, progress and a caution."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from emotion2vec_client._result import ModelInfo, Prediction
from emotion2vec_client.labels import LABELS

if TYPE_CHECKING:
    from rich.progress import Progress


BAR_WIDTH = 40
TABLE_BAR_WIDTH = 16
EIGHTHS = " ▏▎▍▌▋▊▉"

# The lines are short, so that terminals do not wrap the command.
CAUTIONS = {
    "random": "⚠  RANDOM WEIGHTS: these scores mean nothing.\n"
    "   Export a real checkpoint with 'make export'.\n"
    "⚠  随机权重：这些分数没有任何意义。\n"
    "   请用 'make export' 导出真实模型。",
    "demonstration": "⚠  DEMONSTRATION MODEL: mean recall {uar} over seven emotions, on German\n"
    "   actors it had not heard (chance: 14 %). Expect less on other speech.\n"
    "   For emotion2vec+ large, run 'make export', then start the service again.\n"
    "⚠  演示模型：对未参与训练的德语演员，七种情感的平均召回率为 {uar}\n"
    "   （随机水平 14 %）；用于其他语音时可能更低。\n"
    "   如需 emotion2vec+ large，请运行 'make export'，然后重启服务。",
}
"""What to know about weights other than those of emotion2vec+, by their kind."""


def caution(info: ModelInfo) -> str | None:
    """What to know about the weights before one trusts the scores; None for emotion2vec+."""
    text = CAUTIONS.get(info.weights)
    return text.format(uar="?" if info.uar is None else f"{100 * info.uar:.0f} %") if text else None


def describe(prediction: Prediction) -> str:
    """Formats a prediction for people: the emotion, and all scores as bars."""
    label = prediction.label
    lines = [
        f"{label.emoji}  {label.chinese} / {label.name}   {percent(prediction.confidence)}",
        "",
    ]
    for each in sorted(LABELS, key=lambda label: -prediction.scores[label.name]):
        score = prediction.scores[each.name]
        # Every emoji is two columns wide and every Chinese name four: only English needs padding.
        name = f"{each.emoji} {each.chinese} {each.name:<9}"
        lines.append(f"{name} {percent(score):>7} {bar(score)}".rstrip())
    for judge, made in prediction.decisions.named().items():
        width = max(map(len, made.scores))
        names = "".join(f" / {name}" for name in made.names.values())
        lines += ["", f"{judge}: {made.label}{names}", ""]
        for name, score in sorted(made.scores.items(), key=lambda item: -item[1]):
            lines.append(f"{name:<{width}} {percent(score):>7} {bar(score)}".rstrip())
    return "\n".join(lines)


def percent(score: float) -> str:
    """A score from 0 to 1 as people read it, such as ``85.3 %``."""
    return f"{100 * score:.1f} %"


def counted(count: int, noun: str) -> str:
    """A number and its noun, such as ``1 row`` and ``5,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def bar(score: float, width: int = BAR_WIDTH) -> str:
    """A bar of up to ``width`` columns for a score from 0 to 1."""
    whole, eighths = divmod(round(score * width * 8), 8)
    return ("█" * whole + EIGHTHS[eighths]).rstrip()


def replace_unprintable() -> None:
    """Makes stdout print question marks instead of failing if its encoding lacks Chinese."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def progress_bar() -> Progress:
    """A progress bar on stderr that vanishes when it is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f} files/s")

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )
