"""The engine for one machine: a client that keeps requests in flight across the parts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from emotion2vec_client._client import Client
from emotion2vec_client.archive.job import Job, Part, Step
from emotion2vec_client.archive.recordings import Recording


def run(job: Job, client: Client, todo: Sequence[int]) -> Generator[Step, None, None]:
    """Does parts one after the other; the next one begins while the last rows of one are awaited.

    Args:
        job: What to do.
        client: Connected to the service.
        todo: Numbers of the parts.

    Raises:
        Emotion2VecError: The server stays down, or runs another model than before.
        StoreError: A store does not answer.
    """

    def recordings() -> Iterator[Recording]:
        for number in todo:
            yield from job.recordings(number)

    rows = job.rows(client, recordings())
    # A disk may take seconds to write, during which nothing would be sent.
    with closing(rows), ThreadPoolExecutor(1, "archive") as writer:
        written: Future[None] | None = None
        for number in todo:
            part = Part(job, number, client)
            for row in islice(rows, job.size(number)):
                part.add(row)
                yield Step(1, int(row.answer is None))
            failed = part.failed
            part.retry()
            yield Step(0, part.failed - failed)
            job.check_model(client)
            if written is not None:
                written.result()
            written = writer.submit(_write, job, part.files())
        if written is not None:
            written.result()


def _write(job: Job, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        job.store.put(name, data)
