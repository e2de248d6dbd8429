"""The nine emotions, in the order of every scores tensor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One emotion.

    Attributes:
        name: Public name, English.
        chinese: Its name in Chinese.
        emoji: A face for it.
    """

    name: str
    chinese: str
    emoji: str


LABELS = (
    Label("angry", "生气", "😠"),
    Label("disgusted", "厌恶", "🤢"),
    Label("fearful", "恐惧", "😨"),
    Label("happy", "开心", "😊"),
    Label("neutral", "中立", "😐"),
    Label("other", "其他", "🤔"),
    Label("sad", "难过", "😢"),
    Label("surprised", "吃惊", "😲"),
    Label("unknown", "未知", "❓"),
)
