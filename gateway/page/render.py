"""Results as HTML; what comes from users is escaped here and nowhere else."""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from pathlib import PurePath
from typing import Any

from emotion2vec_client import ModelInfo
from emotion2vec_client.labels import LABELS, Label
from gateway.page.text import Text
from gateway.problems import Problem
from gateway.schema import Decision, Result
from gateway.settings import Settings

RECORDING_HOURS = 2
"""Longest recording of a timeline; the value of
model_repository/emotion2vec_timeline/config.pbtxt."""

DETAILED = ("unsupported", "damaged", "bad_request", "bad_option")
"""Codes for which the server's own sentence says more about what was sent, in English."""

BY_NAME = {label.name: label for label in LABELS}


def names(label: Label, text: Text) -> tuple[str, str]:
    """The page's own name of an emotion first, then the other one."""
    english, chinese = label.name, label.chinese
    return (chinese, english) if text.language == "zh" else (english, chinese)


def header(text: Text) -> str:
    """Title and language switch."""
    return (
        '<header class="e2v-header"><div><h1><span class="e2v-icon" aria-hidden="true">🎙</span> '
        f"{escape(text.title)}</h1>"
        f"<p>{escape(text.subtitle)}</p></div>"
        f'<a class="e2v-switch" href="{text.other_path}" hreflang="{text.other_path.strip("/")}" '
        f'lang="{text.other_path.strip("/")}">{escape(text.other_name)}</a></header>'
    )


def foot(text: Text, info: ModelInfo) -> str:
    """The line below the page: the model, and the licence of its weights."""
    kinds = {True: "published", False: "other", None: "unknown"}
    kind = info.weights if info.weights in text.foot_weights else kinds[info.published]
    model = text.foot.format(
        checkpoint=escape(info.checkpoint),
        weights=text.foot_weights[kind],
        precision=escape(info.precision),
    )
    license = ""
    if info.license:
        name, link = map(escape, info.license)
        anchor = f'<a href="{link}" target="_blank" rel="noopener">{name}</a>'
        license = f" · {text.foot_license.format(license=anchor)}"
    return f'<p class="e2v-foot">{model}{license}</p>'


def caution(text: Text, info: ModelInfo) -> str:
    """The banner for weights that are not those of emotion2vec+; empty for those."""
    uar = "?" if info.uar is None else f"{100 * info.uar:.0f} %"
    return banner(text.banners.get(info.weights, "").format(uar=uar))


def banner(sentence: str) -> str:
    """A warning across the page."""
    return f'<p class="e2v-banner" role="alert">{escape(sentence)}</p>' if sentence else ""


def empty(text: Text) -> str:
    """The panel before the first result."""
    return f'<div class="e2v-empty"><span aria-hidden="true">🎧</span>{escape(text.empty)}</div>'


def busy(text: Text, stage: str, seconds: float) -> str:
    """The panel while something is being recognised."""
    sentence = text.busy.format(stage=text.stages[stage], seconds=seconds)
    return (
        '<div class="e2v-busy" role="status">'
        f'<div class="e2v-spin" aria-hidden="true"></div>{escape(sentence)}</div>'
    )


def problem(text: Text, error: Problem, settings: Settings) -> str:
    """The panel for an error: what the visitor can do, without details of the server."""
    own = text.problems.get(error.code, text.problems["failed"])
    sentences = f"<p>{escape(own.format(megabytes=megabytes(settings)))}</p>"
    if error.code in DETAILED:
        sentences += f'<p class="e2v-detail" lang="en">{escape(error.detail)}</p>'
    return f'<div class="e2v-error" role="alert"><h2>⚠ {escape(text.error)}</h2>{sentences}</div>'


def megabytes(settings: Settings) -> str:
    """The largest upload, as people say it."""
    return f"{settings.max_upload_bytes / 2**20:g}"


def result(text: Text, answer: Result, sound: str | None = None) -> str:
    """The panel with a result.

    Args:
        text: Its language.
        answer: The REST endpoint's, which names only the files that were kept.
        sound: Where the visitor's own file is, for an answer without its audio.
    """
    first = BY_NAME[answer["emotion"]]
    own, other = names(first, text)
    folder = folder_of(answer)
    kept = f' data-folder="{escape(folder)}"' if folder else ""
    chip = text.chips.get(answer["weights"])
    warned = f'<span class="e2v-chip">⚠ {escape(chip)}</span>' if chip else ""
    confidence = f"{answer['confidence'] * 100:.1f} %"
    return (
        f'<article class="e2v-result"{kept}>'
        f'<div class="e2v-top" role="status"><span class="e2v-emoji e2v-icon" aria-hidden="true">'
        f'{first.emoji}</span><div><strong class="e2v-emotion">{own}</strong> '
        f'<span class="e2v-other">{other}</span>'
        f'<div class="e2v-confidence">{escape(text.confidence)} {confidence}</div>'
        f"{warned}</div></div>{_decisions(text, answer)}"
        f"{_bars(text, answer['scores'])}{_course(text, answer, sound)}"
        f"{_downloads(text, answer)}{_log(text, answer)}</article>"
    )


def folder_of(answer: Result) -> str | None:
    """Name of the folder that a result is saved in; None where nothing is kept."""
    return PurePath(answer["output_dir"]).name if "output_dir" in answer else None


def summary(text: Text, answer: Result) -> str:
    """A result in one line, for the history."""
    label = BY_NAME[answer["emotion"]]
    percent = f"{answer['confidence'] * 100:.1f} %"
    return (
        f"{answer['timestamp']} · {answer['filename']} · "
        f"{label.emoji} {names(label, text)[0]} {percent}"
    )


def _decisions(text: Text, answer: Result) -> str:
    """What the policy and the heads answer, each in one line."""
    made = [(text.policy, answer["policy"])] if "policy" in answer else []
    made += answer.get("heads", {}).items()
    rows = (
        f"<li><span>{escape(name)}:</span> <strong>{escape(_named(decision, text))}</strong> "
        f"{decision['confidence'] * 100:.1f} %</li>"
        for name, decision in made
    )
    return f'<ul class="e2v-decisions">{"".join(rows)}</ul>' if made else ""


def _named(decision: Decision, text: Text) -> str:
    return decision.get("names", {}).get(text.language, decision["label"])


def _bars(text: Text, scores: dict[str, float]) -> str:
    rows = []
    for name, score in sorted(scores.items(), key=lambda item: -item[1]):
        own, other = names(BY_NAME[name], text)
        percent = f"{score * 100:.1f}"
        rows.append(
            f'<li><span class="e2v-name"><span class="e2v-icon" aria-hidden="true">'
            f"{BY_NAME[name].emoji}</span> "
            f"{own} <small>{other}</small></span>"
            f'<span class="e2v-track" role="meter" aria-label="{own}" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{percent}">'
            f'<span style="width:{percent}%;background:var(--e2v-{name})"></span></span>'
            f'<span class="e2v-percent">{percent} %</span></li>'
        )
    return f'<h2>{escape(text.scores)}</h2><ol class="e2v-bars">{"".join(rows)}</ol>'


def _course(text: Text, answer: Result, sound: str | None) -> str:
    if "frame_scores" not in answer:
        return ""
    result = {
        "duration": answer["duration"],
        "frame_hop": answer["frame_hop"],
        # More digits than the chart can show would only be slow.
        "frame_scores": {
            name: [round(score, 4) for score in scores]
            for name, scores in answer["frame_scores"].items()
        },
    }
    audio = answer.get("files", {}).get("processed_audio.wav", sound)
    attributes = _attribute("result", result) + _attribute(
        "words", {**text.frames, "labels": _labels(text)}
    )
    if audio:
        attributes += f' audio="{escape(audio)}"'
    return f"<h2>{escape(text.course)}</h2><emotion-frames{attributes}></emotion-frames>"


def timeline(text: Text, settings: Settings) -> str:
    """The element that sends a long recording and shows its timeline."""
    words = text.timeline if settings.keep_results else {**text.timeline, "embedding": ""}
    return _element("emotion-timeline", text, words, settings.max_recording_bytes)


def live(text: Text, settings: Settings) -> str:
    """The element that listens to the microphone."""
    words = {**text.timeline, **text.live}
    return _element("emotion-live", text, words, settings.max_recording_bytes)


def batch(text: Text, settings: Settings) -> str:
    """The element that sends many clips and shows a table."""
    return _element("emotion-batch", text, text.batch, settings.max_upload_bytes)


def _element(name: str, text: Text, own: dict[str, Any], most: int) -> str:
    words = {
        **own,
        "problems": {**text.problems, **own["problems"]},
        "detailed": DETAILED,
        "labels": _labels(text),
        "policy": text.policy,
        "language": text.language,
        "chips": text.chips,
        "most": most,
    }
    attribute = _attribute("words", words)
    # The script fills in the other braces.
    for brace, limit in {"megabytes": f"{most / 2**20:g}", "hours": RECORDING_HOURS}.items():
        attribute = attribute.replace(f"{{{brace}}}", str(limit))
    return f"<{name}{attribute}></{name}>"


def _attribute(name: str, value: dict[str, Any]) -> str:
    return f' {name}="{escape(json.dumps(value, ensure_ascii=False))}"'


def _labels(text: Text) -> dict[str, list[str]]:
    return {label.name: [label.emoji, names(label, text)[0]] for label in LABELS}


def _downloads(text: Text, answer: Result) -> str:
    links = "".join(
        f'<li><a href="{escape(url)}" download="{escape(file)}">⬇ {escape(text.files[file])}</a>'
        "</li>"
        for file, url in answer.get("files", {}).items()
    )
    if not links:
        return ""
    return f'<h2>{escape(text.downloads)}</h2><ul class="e2v-downloads">{links}</ul>'


def _log(text: Text, answer: Result) -> str:
    weights = text.weights.get(answer["weights"], answer["weights"])
    own = {"weights": weights, "timestamp": _zoned(answer["timestamp"])}
    values = {"output_dir": "", **answer, **answer["milliseconds"], **own}
    lines = ((name, line.format(**values)) for name, line in text.log_lines)
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(line)}</dd>" for name, line in lines if line
    )
    return f'<details class="e2v-log" open><summary>{escape(text.log)}</summary><dl>{rows}</dl>' + (
        "</details>"
    )


def _zoned(timestamp: str) -> str:
    """A server time with its zone, because the visitor may be in another one."""
    offset = f"{datetime.fromisoformat(timestamp).astimezone():%z}"
    return f"{timestamp} (UTC{offset[:3]}:{offset[3:]})"
