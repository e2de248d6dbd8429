"""What both engines do with a part: recognise its recordings, and write their rows."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emotion2vec_client._client import Client
from emotion2vec_client._judges import Judges
from emotion2vec_client.archive.plan import Plan, differences, read_inputs
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.results import PLAN_KEY, part_name
from emotion2vec_client.archive.rows import RecordingShape
from emotion2vec_client.archive.stores import Store
from emotion2vec_client.cli.rows import PredictionShape, Row, Shape, TimelineShape
from emotion2vec_client.cli.writers import ParquetWriter
from emotion2vec_client.errors import WrongAddressError

if TYPE_CHECKING:
    from emotion2vec_client.cli.connection import Connection

CARD_KEY = "emotion2vec.model_card"
"""Where the metadata of each Parquet file has the model card, as JSON."""

TIMELINE = {"segmentation": "vad"}


@dataclass(frozen=True)
class Step:
    """Progress.

    Attributes:
        files: Recordings that were recognised.
        failed: How many of them have errors.
    """

    files: int
    failed: int


@dataclass(frozen=True)
class Job:
    """All that an engine needs; Ray sends it to its workers.

    Attributes:
        store: Has the plan, and gets the parts.
        plan: Which recordings there are.
        connections: To the services.
        judges: Their answers are beside the nine scores.
        concurrency: Requests in flight, for each client.
        timeline: Whether recordings are long.
        embedding: Whether rows have embeddings.
    """

    store: Store
    plan: Plan
    connections: Sequence[Connection]
    judges: Judges
    concurrency: int
    timeline: bool
    embedding: bool

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Columns of a part's files by their folders; the file with one row per input is last."""
        columns: dict[str, Any] = {
            "embedding": self.embedding,
            "dimension": int(self.plan.card["embed_dim"]) if self.embedding else 0,
            "judged": self.judges.labels,
        }
        shapes: list[Shape] = [PredictionShape(**columns)]
        if self.timeline:
            shapes = [TimelineShape(**columns), RecordingShape(judged=self.judges.labels)]
        return dict(zip(self.plan.folders, shapes))

    def rows(self, client: Client, recordings: Iterable[Recording]) -> Iterator[Row]:
        """Yields the row of each recording, in their order.

        Raises:
            Emotion2VecError: The server stays down, or does not accept the client.
            StoreError: The store of the recordings does not answer.
        """
        from emotion2vec_client.cli.predict import PredictionWork
        from emotion2vec_client.cli.timeline_work import TimelineWork

        # They pass on what they get, and name it with str().
        paths = cast("Iterable[Path]", recordings)
        shape = next(iter(self.shapes.values()))
        if isinstance(shape, PredictionShape):
            return PredictionWork(client, shape, self.concurrency).rows(paths, None, shown=False)
        options = {**TIMELINE, "embedding": self.embedding}
        return TimelineWork(client, shape, self.concurrency, options).rows(paths, None, shown=False)

    def recordings(self, number: int) -> list[Recording]:
        """The recordings of a part."""
        return read_inputs(self.store, self.plan, number)

    def check_model(self, client: Client) -> None:
        """Refuses another model than that of the plan.

        Raises:
            WrongAddressError: The server runs another model.
        """
        other = list(differences(self.plan, self.plan.options, client.model_info().card))
        if other:
            raise WrongAddressError(f"the server at {client.url} runs another model: {other[0]}")


class Part:
    """Collects the rows of a part."""

    def __init__(self, job: Job, number: int) -> None:
        self._job = job
        self._number = number
        self._open = ExitStack()
        self._files = {folder: io.BytesIO() for folder in job.shapes}
        card = json.dumps(job.plan.card, ensure_ascii=False)
        metadata = {CARD_KEY: card, PLAN_KEY: job.plan.id}
        self._writers = [
            self._open.enter_context(ParquetWriter(self._files[folder], shape, metadata))
            for folder, shape in job.shapes.items()
        ]
        self.rows = self.failed = 0

    def add(self, row: Row) -> None:
        """Adds the row of the next recording."""
        for writer in self._writers:
            writer.write(row)
        self.rows += 1
        self.failed += row.answer is None

    def files(self) -> dict[str, bytes]:
        """The complete files by name, in the order in which they must be written."""
        expected = self._job.plan.size(self._number)
        if self.rows != expected:
            raise RuntimeError(f"part {self._number} has {self.rows} rows, and not {expected}")
        self._open.close()
        return {
            f"{folder}{part_name(self._number)}": file.getvalue()
            for folder, file in self._files.items()
        }
