"""Labelled recordings through the service, for ``evaluate`` and ``calibrate``."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from emotion2vec_client._result import ModelInfo
from emotion2vec_client.analysis.arrays import DoubleArray
from emotion2vec_client.analysis.corpora import read_corpus, read_label_map
from emotion2vec_client.analysis.label_file import LabelledFile
from emotion2vec_client.analysis.policy import NINE
from emotion2vec_client.cli.common import progress_in_errors, wrong_usage
from emotion2vec_client.cli.connection import warn_of_weights
from emotion2vec_client.cli.display import counted
from emotion2vec_client.cli.files import Listed
from emotion2vec_client.cli.output import Format
from emotion2vec_client.cli.work import Work, write_rows
from emotion2vec_client.errors import Emotion2VecError

CorpusArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CSV|JSONL|DIR",
        help="CSV with columns file,label and optionally speaker or group; an EmoBox manifest; or "
        "a folder whose recordings are named as in Emo-DB or RAVDESS, or lie in folders named by "
        "their label.",
        show_default=False,
    ),
]
LabelMapOption = Annotated[
    Optional[Path],
    typer.Option(
        "--label-map",
        help='New names of labels, as JSON: {"anger": "angry"}. Recordings with other labels are '
        "left out.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Answered:
    """Labelled recordings that the service has answered.

    Attributes:
        rows: The n recordings.
        answers: Their answers, as ``predict --format jsonl`` writes them.
        failures: Reason of each failure by name of the recording.
    """

    rows: list[LabelledFile]
    answers: list[dict[str, Any]]
    failures: dict[str, str]

    @property
    def scores(self) -> DoubleArray:
        """The nine scores, float64 [n, 9]."""
        return np.array([[answer["scores"][name] for name in NINE] for answer in self.answers])

    def of_head(self, labels: Sequence[str]) -> DoubleArray:
        """The scores of the only head, float64 [n, L], for its L labels."""
        made = [next(iter(answer["heads"].values()))["scores"] for answer in self.answers]
        return np.array([[scores[name] for name in labels] for scores in made])

    @property
    def groups(self) -> Optional[list[str]]:
        """Speaker or group of each recording, None if some are unknown."""
        groups = [row.group for row in self.rows if row.group is not None]
        return groups if len(groups) == len(self.rows) else None


def corpus(source: Path, label_map: Optional[Path]) -> list[LabelledFile]:
    """Reads the labelled recordings that a command was given.

    Raises:
        typer.BadParameter: They, or the label map, cannot be used.
    """
    with wrong_usage():
        return read_corpus(source, None if label_map is None else read_label_map(label_map))


def answer(
    work: Work, rows: Sequence[LabelledFile], output: Optional[Path], resume: bool = False
) -> Answered:
    """Asks the service about recordings.

    Args:
        work: Predictions.
        rows: The recordings.
        output: JSONL file that keeps the answers; None keeps them in memory.
        resume: Whether to continue that file.

    Raises:
        Emotion2VecError: All recordings failed, or the server is down.
    """
    warn_of_weights(work.client)
    files = Listed([str(row.path) for row in rows])
    found = {entry["file"]: entry for entry in _entries(work, files, output, resume)}
    asked = [(row, found[str(row.path)]) for row in rows if str(row.path) in found]
    good = [(row, entry) for row, entry in asked if "error" not in entry]
    failures = {str(row.path): entry["error"] for row, entry in asked if "error" in entry}
    if not good:
        reason = next(iter(failures.values()), "the server gave no answer")
        raise Emotion2VecError(f"none of the {len(rows):,} recordings can be used: {reason}")
    return Answered([row for row, _ in good], [entry for _, entry in good], failures)


def check_same(path: Path, info: ModelInfo, head: Optional[Path], resume: bool) -> None:
    """Refuses to continue answers of another model or head, and notes which these are of.

    Args:
        path: Notes the model and the head.
        info: The model that answers.
        head: File of the head that answers as well.
        resume: Whether answers are continued.

    Raises:
        typer.BadParameter: The file says that others have answered so far.
    """
    now = {
        "checkpoint": info.checkpoint,
        "sha256": info.card.get("sha256"),
        "precision": info.precision,
        "head": None if head is None else hashlib.sha256(head.read_bytes()).hexdigest(),
    }
    if resume and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name, value in now.items() if before.get(name) != value]
        if other:
            raise typer.BadParameter(
                f"the answers in {path.parent} are of another model ({other[0]} was "
                f"{before.get(other[0])} and is {now[other[0]]}): --overwrite them, or choose "
                "another folder"
            )
    path.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


def _entries(
    work: Work, files: Listed, output: Optional[Path], resume: bool
) -> Iterator[dict[str, Any]]:
    if output is not None:
        write_rows(work, files, Format.jsonl, output, resume, True)
        with output.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
        return
    done = 0

    def where() -> str:
        return f"{done} of {counted(len(files.arguments), 'file')} were done, and none is kept"

    with progress_in_errors(where), closing(work.rows(files, files.count())) as coming:
        for row in coming:
            done += 1
            yield work.shape.nested(row)
