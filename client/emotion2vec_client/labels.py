"""The nine emotions, in the order of every scores tensor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One emotion.

    Attributes:
        name: English name, as in results.
        chinese: Chinese name.
        emoji: Emoji.
        colour: ``#rrggbb``, on the page, in plots and in the terminal.
    """

    name: str
    chinese: str
    emoji: str
    colour: str


LABELS = (
    Label("angry", "生气", "😠", "#e5484d"),
    Label("disgusted", "厌恶", "🤢", "#7c9a2e"),
    Label("fearful", "恐惧", "😨", "#8e4ec6"),
    Label("happy", "开心", "😊", "#f5b800"),
    Label("neutral", "中立", "😐", "#8b98a5"),
    Label("other", "其他", "🤔", "#b98a5a"),
    Label("sad", "难过", "😢", "#3e7bd6"),
    Label("surprised", "吃惊", "😲", "#f2762e"),
    Label("unknown", "未知", "❓", "#c6ccd2"),
)

COLOURS = {label.name: label.colour for label in LABELS}
