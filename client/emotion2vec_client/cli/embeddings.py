"""The embeddings of files, which the commands of the analysis work on."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import typer

from emotion2vec_client.cli.common import (
    DEFAULT_CONCURRENCY,
    answers,
    complain,
    counted,
    progress,
    sentence,
    told_where_it_ends,
)
from emotion2vec_client.cli.connection import outages_told, warn_if_random
from emotion2vec_client.client import Client
from emotion2vec_client.errors import Emotion2VecError
from emotion2vec_client.result import Outcome, Prediction


@dataclass(frozen=True)
class Embedded:
    """Files and their embeddings.

    Attributes:
        paths: The n files that worked.
        embeddings: float32 [n, D], a row for each.
        predictions: Their predictions.
        failures: The others, with their errors.
    """

    paths: list[Path]
    embeddings: npt.NDArray[np.float32]
    predictions: list[Prediction]
    failures: list[Outcome[Path]]


def check_count(paths: Sequence[Path], least: int, purpose: str) -> None:
    """Refuses too few files before the first one is sent.

    Raises:
        typer.BadParameter: There are fewer than ``least``.
    """
    if len(paths) < least:
        raise typer.BadParameter(
            f"{purpose} needs at least {least} files and got {len(paths)}: give more"
        )


def embed(
    client: Client, paths: Sequence[Path], concurrency: int = DEFAULT_CONCURRENCY
) -> Embedded:
    """Gets the embeddings of files; says on stderr which failed, and if weights are random.

    Raises:
        Emotion2VecError: None of the files works, or the server is gone.
    """
    warn_if_random(client)
    good: list[tuple[Path, Prediction]] = []
    rows: list[npt.NDArray[np.float32]] = []
    failures: list[Outcome[Path]] = []

    def where() -> str:
        done = len(good) + len(failures)
        return f"{done:,} of {counted(len(paths), 'file')} were recognised, and nothing is written"

    outcomes = answers(client, paths, concurrency=concurrency, embedding=True)
    with (
        told_where_it_ends(where),
        closing(outcomes),
        outages_told(),
        progress(len(paths)) as advance,
    ):
        for outcome in outcomes:
            if outcome.prediction is None or outcome.prediction.embedding is None:
                failures.append(outcome)
            else:
                good.append((outcome.item, outcome.prediction))
                rows.append(outcome.prediction.embedding)
            advance(len(good) + len(failures))
    for failure in failures:
        complain(f"{failure.item}: {sentence(failure.error or ValueError('no embedding came'))}")
    if not good:
        which = "the file" if len(paths) == 1 else f"none of the {len(paths):,} files"
        verb = "cannot" if len(paths) == 1 else "can"
        raise Emotion2VecError(f"{which} {verb} be used: see above")
    return Embedded(
        [path for path, _ in good],
        np.stack(rows),
        [prediction for _, prediction in good],
        failures,
    )
