"""What both engines do with a part: recognise its recordings, and write their rows."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emotion2vec_client._audio import SAMPLE_RATE, wav_bytes
from emotion2vec_client._client import Client
from emotion2vec_client._judges import Judges
from emotion2vec_client.archive.plan import PLAN, Plan, differences, read_inputs, read_plan
from emotion2vec_client.archive.recordings import CLIP_LIMIT, TIMELINE_LIMIT, Recording
from emotion2vec_client.archive.results import PLAN_KEY, part_name, with_new_rows
from emotion2vec_client.archive.rows import RecordingShape
from emotion2vec_client.archive.stores import Store, StoreError
from emotion2vec_client.cli.common import GONE
from emotion2vec_client.cli.rows import PredictionShape, Row, Shape, TimelineShape
from emotion2vec_client.cli.writers import ParquetWriter
from emotion2vec_client.errors import (
    Emotion2VecError,
    PredictionTimeoutError,
    ServerUnavailableError,
    WrongAddressError,
)

if TYPE_CHECKING:
    from emotion2vec_client.cli.connection import Connection

CARD_KEY = "emotion2vec.model_card"
"""Where the metadata of each Parquet file has the model card, as JSON."""

TIMELINE: Mapping[str, Any] = {"segmentation": "vad"}

OF_THE_SERVER = frozenset((Emotion2VecError.__name__, PredictionTimeoutError.__name__))
"""Errors that may be the server's fault and not the recording's."""

RETRIES = 2
"""How often a recording is tried again after such an error."""

SILENCE = wav_bytes([0.0] * SAMPLE_RATE, SAMPLE_RATE)
"""A second of silence, which every working server can answer."""


@dataclass(frozen=True)
class Step:
    """Progress.

    Attributes:
        files: Recordings that were recognised.
        failed: How many of them have errors, less those of earlier steps that no longer do.
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
        again: Positions of the recordings that are recognised again, in parts that are there.
        sources: Local files and folders that each machine must have.
    """

    store: Store
    plan: Plan
    connections: Sequence[Connection]
    judges: Judges
    concurrency: int
    timeline: bool
    embedding: bool
    again: Mapping[int, Sequence[int]] = field(default_factory=dict)
    sources: Sequence[str] = ()

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

    def rows(self, client: Client, recordings: Iterable[Recording]) -> Generator[Row, None, None]:
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
        """The recordings of a part that are to be recognised."""
        limit = TIMELINE_LIMIT if self.timeline else CLIP_LIMIT
        inputs = read_inputs(self.store, self.plan, number)
        chosen = [inputs[each] for each in self.again.get(number, range(len(inputs)))]
        return [replace(each, limit=limit) for each in chosen]

    def size(self, number: int) -> int:
        """How many they are."""
        return len(self.again[number]) if number in self.again else self.plan.size(number)

    def check_machine(self) -> None:
        """Refuses a machine that does not have the folders that the other machines have.

        Otherwise its recordings would be rows that say there is no such file, and its results
        would be lost.

        Raises:
            StoreError: It does not see the sources or the plan.
        """
        lacks = [each for each in self.sources if not os.path.exists(each)]
        if not lacks and read_plan(self.store) != self.plan:
            lacks = [f"{self.store.url}/{PLAN}"]
        if lacks:
            raise StoreError(
                f"{socket.gethostname()} does not have {lacks[0]}: give files that all machines of "
                "the cluster share, or URLs such as s3://…"
            )

    def check_server(self, client: Client) -> None:
        """Tells a server that fails from a recording that makes it fail.

        Raises:
            Emotion2VecError: The server does not answer silence either, or refuses the client.
        """
        try:
            # It waits for requests in flight, so it may take as long as one of them.
            for outcome in client.predict_many([SILENCE], concurrency=self.concurrency):
                outcome.unwrap()
            if self.timeline:
                client.timeline(SILENCE, **TIMELINE)
        except GONE:
            raise
        except Emotion2VecError as error:
            raise ServerUnavailableError(f"the server does not answer: {error}") from error

    def check_model(self, client: Client) -> None:
        """Refuses another model than that of the plan.

        Raises:
            WrongAddressError: The server runs another model.
        """
        other = list(differences(self.plan, self.plan.options, client.model_info().card))
        if other:
            raise WrongAddressError(f"the server at {client.url} runs another model: {other[0]}")


class Part:
    """Collects the rows of a part.

    Args:
        job: What is done.
        number: Of the part.
        client: Connected to the service that answers.
    """

    def __init__(self, job: Job, number: int, client: Client) -> None:
        self._job = job
        self._number = number
        self._client = client
        self._rows: list[Row] = []
        self._of_the_server = 0

    @property
    def failed(self) -> int:
        """How many rows have errors."""
        return sum(row.answer is None for row in self._rows)

    def add(self, row: Row) -> None:
        """Adds the row of the next recording.

        Raises:
            Emotion2VecError: All further recordings would fail too.
        """
        if row.error_type in OF_THE_SERVER:
            # Not each time, because a server that hangs takes minutes to fail.
            if self._of_the_server % self._job.concurrency == 0:
                self._job.check_server(self._client)
            self._of_the_server += 1
        self._rows.append(row)

    def retry(self) -> None:
        """Retries the recordings on which the server failed: it may only have been overloaded.

        Raises:
            Emotion2VecError: The server stays down, does not answer, or does not accept the client.
            StoreError: The store of the recordings does not answer.
        """
        for tries in range(RETRIES + 1):
            failed = [
                index for index, row in enumerate(self._rows) if row.error_type in OF_THE_SERVER
            ]
            if not failed:
                return
            if tries == RETRIES:
                # If it works, these are the recordings' own failures.
                self._job.check_server(self._client)
                return
            recordings = self._job.recordings(self._number)
            # Its end restores how outages are reported.
            with closing(
                self._job.rows(self._client, [recordings[each] for each in failed])
            ) as rows:
                for index, row in zip(failed, rows):
                    self._rows[index] = row

    def files(self) -> dict[str, bytes]:
        """The complete files by name, in the order in which they must be written."""
        expected = self._job.size(self._number)
        if len(self._rows) != expected:
            raise RuntimeError(
                f"part {self._number} has {len(self._rows)} rows, and not {expected}"
            )
        return {
            f"{folder}{part_name(self._number)}": self._file(folder, shape)
            for folder, shape in self._job.shapes.items()
        }

    def _file(self, folder: str, shape: Shape) -> bytes:
        plan, packed = self._job.plan, io.BytesIO()
        card = json.dumps(plan.card, ensure_ascii=False)
        with ParquetWriter(packed, shape, {CARD_KEY: card, PLAN_KEY: plan.id}) as writer:
            counts = [writer.write(row) for row in self._rows]
        if len(self._rows) < plan.size(self._number):
            name = f"{folder}{part_name(self._number)}"
            return with_new_rows(self._job.store, name, packed.getvalue(), counts)
        return packed.getvalue()
