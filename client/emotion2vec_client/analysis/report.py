"""Writes an evaluation as a folder: report.md, report.json and two pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion2vec_client._result import ModelInfo
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.evaluation import RESAMPLES, Evaluation, Part

TITLES = {
    "uar": "unweighted average recall (UAR)",
    "wa": "weighted accuracy (WA)",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
}

LIMITS = (
    "The emotion2vec+ models were trained on many public corpora. On such a corpus these figures "
    "are too good: the model may have heard the recordings, or their speakers.",
    "The intervals say how much the figures depend on which recordings of these speakers were "
    "measured. They do not cover other speakers, languages, microphones or situations.",
    "Acted emotions are clearer than those of daily life, so figures on actors are too good for "
    "anything else.",
    "A label is what listeners heard or actors meant. Listeners often disagree, and no model can "
    "be better than the labels it is measured with.",
)
"""What the figures do not say."""

OF_JUDGES = (
    "A policy or head does better on the recordings that it was fitted to. If some of them are "
    "among these, only the figures of its own cross-validation count, in its file under "
    "`validation`."
)
"""The same, if a policy or a head was evaluated."""


@dataclass(frozen=True)
class About:
    """What was evaluated.

    Attributes:
        corpus: Where the recordings came from.
        model: The model that answered.
        judged: How the answers were made from the scores, such as ``policy strict.json``; None for
            the nine scores themselves.
        meanings: What the corpus's labels were taken for, where that is another name.
        failures: Reason of each failure by name of the recording.
    """

    corpus: str
    model: ModelInfo
    judged: str | None
    meanings: Mapping[str, str]
    failures: Mapping[str, str]


def write(folder: Path, found: Evaluation, about: About) -> None:
    """Writes the report.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: A file cannot be written.
    """
    content = {
        "corpus": about.corpus,
        "model": {
            name: getattr(about.model, name)
            for name in ("checkpoint", "revision", "weights", "precision", "target")
        },
        "judged": about.judged,
        "meanings": dict(about.meanings),
        **found.to_dict(),
        "failures": dict(about.failures),
    }
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    (folder / "report.md").write_text(markdown(found, about), encoding="utf-8")
    _draw_confusion(folder / "confusion.png", found)
    _draw_reliability(folder / "reliability.png", found)


def markdown(found: Evaluation, about: About) -> str:
    """The report as Markdown, with the pictures beside it."""
    model = about.model
    parts = [
        f"# How well {model.checkpoint} recognises {about.corpus}",
        f"{found.files:,} recordings; {model.weights} weights in {model.precision}"
        + (f"; judged by {about.judged}" if about.judged else "")
        + ".",
    ]
    if about.meanings:
        meanings = ", ".join(f"{label} → {new}" for label, new in about.meanings.items())
        parts.append(f"Labels of the corpus: {meanings}.")
    parts.append(
        _table(
            ["measure", "value", "95 % interval"],
            [
                [title, f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}"]
                for title, figure in (
                    (title, getattr(found, name)) for name, title in TITLES.items()
                )
            ],
        )
    )
    parts.append(
        f"Guessing has a UAR of {1 / len(found.truths):.3f}. The intervals come from {RESAMPLES:,} "
        "bootstrap samples of the recordings. UAR and macro F1 are means over the labels below."
    )
    parts += ["## By label", "A row is the truth, a column what was answered."]
    parts.append(
        _table(
            ["", *found.answers, "recall"],
            [
                [f"**{name}**", *map(str, row), f"{found.recalls[name]:.3f}"]
                for name, row in zip(found.truths, found.confusion.tolist())
            ],
        )
    )
    parts.append("![The same as a picture](confusion.png)")
    if found.evasive:
        shares = " and ".join(
            f"{100 * share:.1f} % {name!r}" for name, share in found.evasive.items()
        )
        parts.append(f"Of the answers, {shares}.")
    if found.without is not None:
        parts.append(
            f"Without *other* and *unknown*, {found.without.files:,} recordings have a UAR of "
            f"{found.without.uar:.3f} and an accuracy of {found.without.accuracy:.3f}; a policy "
            "can ban these labels."
        )
    parts += [
        "## Confidence",
        f"The expected calibration error is {found.calibration.error:.3f}: on average, the "
        "confidence of an answer differs by this much from the share of answers that are right.",
        "![Confidence against the share of right answers](reliability.png)",
    ]
    for title, kind, rows in (
        ("By speaker or group", "group", found.by_group),
        ("By length", "length", found.by_length),
    ):
        if rows:
            parts += [f"## {title}", _parts(kind, rows)]
    if about.failures:
        parts.append(f"## Failures\n\n{len(about.failures):,} recordings are in no figure:")
        parts.append("\n".join(f"- `{file}`: {why}" for file, why in about.failures.items()))
    limits = LIMITS if about.judged is None else (OF_JUDGES, *LIMITS)
    parts += ["## What the figures do not say", "\n".join(f"- {limit}" for limit in limits)]
    return "\n\n".join(parts) + "\n"


def _parts(kind: str, rows: Iterable[Part]) -> str:
    return _table(
        [kind, "recordings", "UAR", "accuracy"],
        [[row.name, f"{row.files:,}", f"{row.uar:.3f}", f"{row.accuracy:.3f}"] for row in rows],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _draw_confusion(path: Path, found: Evaluation) -> None:
    shares = found.confusion / found.confusion.sum(axis=1, keepdims=True)
    rows, columns = found.confusion.shape
    figure, axes = _figure(1.6 + 0.75 * columns, 1.4 + 0.6 * rows)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), found.answers, rotation=35, ha="right")
    axes.set_yticks(range(rows), found.truths)
    axes.set(xlabel="answered", ylabel="truth")
    for row in range(rows):
        for column in range(columns):
            if found.confusion[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = f"{found.confusion[row, column]}"
                axes.text(column, row, text, ha="center", va="center", color=colour)
    figure.savefig(path, format="png", dpi=150)


def _draw_reliability(path: Path, found: Evaluation) -> None:
    measured = found.calibration
    figure, axes = _figure(5, 5)
    axes.plot([0, 1], [0, 1], linestyle="--", color="#8b98a5", label="perfectly calibrated")
    axes.plot(
        measured.confidence, measured.accuracy, marker="o", color="#3e7bd6",
        label=f"answers (expected calibration error {measured.error:.3f})",
    )  # fmt: skip
    for x, y, files in zip(measured.confidence, measured.accuracy, measured.files):
        axes.annotate(f"{files}", (x, y), xytext=(4, -12), textcoords="offset points", fontsize=8)
    axes.set(
        xlim=(-0.02, 1.06), ylim=(-0.06, 1.04), title="Numbers are recordings",
        xlabel="confidence", ylabel="share of right answers",
    )  # fmt: skip
    axes.legend(loc="best", frameon=False)
    figure.savefig(path, format="png", dpi=150)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # Not pyplot, which would keep the figure and may need a display.
    figure = import_extra("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()
