"""The texts of the page: one `Text` for each language, in english.py and chinese.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Text:
    """The page's words in one language; {braces} are filled in where they are used."""

    language: Language
    html_language: str
    title: str
    subtitle: str
    other_name: str
    other_path: str
    audio: str
    limits: str
    granularity: str
    utterance: str
    frame: str
    embedding: str
    recognise: str
    examples: str
    policy: str
    empty: str
    stages: dict[str, str]
    busy: str
    confidence: str
    scores: str
    course: str
    downloads: str
    files: dict[str, str]
    json: str
    log: str
    log_lines: tuple[tuple[str, str], ...]
    weights: dict[str, str]
    history: str
    history_empty: str
    banners: dict[str, str]
    chips: dict[str, str]
    not_ready_banner: str
    foot: str
    foot_weights: dict[str, str]
    foot_license: str
    error: str
    problems: dict[str, str]
    """What visitors can do, by code. `failed` is used for any code that is not here."""
    frames: dict[str, str]
    clip_tab: str
    timeline_tab: str
    timeline: dict[str, Any]
    live_tab: str
    live: dict[str, Any]
    """Beside the words of a timeline, which is what it ends as."""
    batch_tab: str
    batch: dict[str, Any]
