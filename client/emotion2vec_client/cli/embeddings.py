"""Embeddings of files, for the analysis commands."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import typer

from emotion2vec_client._client import Client
from emotion2vec_client._result import Outcome, Prediction
from emotion2vec_client.cli.common import (
    DEFAULT_CONCURRENCY,
    answers,
    complain,
    progress,
    progress_in_errors,
    sentence,
)
from emotion2vec_client.cli.connection import outages_reported, warn_of_weights
from emotion2vec_client.cli.display import counted
from emotion2vec_client.errors import Emotion2VecError


@dataclass(frozen=True)
class Embedded:
    """Files and their embeddings.

    Attributes:
        paths: The n files that succeeded.
        embeddings: Their embeddings, float32 [n, D].
        predictions: Their predictions.
        failures: The other files, with their errors.
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
    """Gets the embeddings of files; reports failures, and weights that need a caution, on stderr.

    Raises:
        Emotion2VecError: All files failed, or the server is down.
    """
    warn_of_weights(client)
    good: list[tuple[Path, Prediction]] = []
    rows: list[npt.NDArray[np.float32]] = []
    failures: list[Outcome[Path]] = []

    def where() -> str:
        done = len(good) + len(failures)
        return f"{done:,} of {counted(len(paths), 'file')} were recognised, but nothing was written"

    outcomes = answers(client, paths, concurrency=concurrency, embedding=True)
    with (
        progress_in_errors(where),
        closing(outcomes),
        outages_reported(),
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
