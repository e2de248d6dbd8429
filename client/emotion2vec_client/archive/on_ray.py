"""The engine for a cluster: Ray Data reads in tasks, recognises in actors, and writes in tasks.

A part is one row of the dataset, so that Ray cannot split it, and each step gives one row for it.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from emotion2vec_client import _many
from emotion2vec_client._base import OUTAGE_SECONDS
from emotion2vec_client.analysis.errors import MissingPackageError
from emotion2vec_client.archive.job import Job, Part, Step
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.stores import StoreError
from emotion2vec_client.cli.common import sentence
from emotion2vec_client.errors import (
    Emotion2VecError,
    ServerUnavailableError,
    WrongAddressError,
)

READ_AHEAD_BYTES = 128 * 2**20
"""Bytes of a part that are read ahead; what is beyond them is read when it is sent."""

CLIP_BYTES, TIMELINE_BYTES = 8 * 2**20, 64 * 2**20
"""Reserved for a file whose size is not known before it is read."""

CONNECT_SECONDS = 10.0

READERS = 16
"""Files that a task reads at once."""

ACTORS = 2
"""Actors per service: one sends while the last answers to the other are awaited."""

# They wait for networks and disks most of the time. Operators with different values are not fused.
READER_CPUS, ACTOR_CPUS, WRITER_CPUS = 0.5, 0.25, 0.1

Item = dict[str, Any]


def run(job: Job, todo: Sequence[int], address: str | None) -> Generator[Step, None, None]:
    """Does parts on a Ray cluster, in any order.

    Args:
        job: What to do.
        todo: Numbers of the parts.
        address: The cluster's; None starts Ray on this machine, or joins the cluster of the Ray
            job that this is.

    Raises:
        ServerUnavailableError: A server stays down or runs another model than before, a store does
            not answer, or there is no Ray cluster.
        WrongAddressError: The address is none.
        MissingPackageError: Ray is not installed.
    """
    _check_address(address or os.environ.get("RAY_ADDRESS", ""))
    # Ray reports its use to its makers otherwise.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError(
            f"--ray needs Ray: pip install './client[ray]' ({error})"
        ) from error
    try:
        ray.init(address=address, logging_level=logging.ERROR)
    except Exception as error:
        # Ray raises plain exceptions for some failures to start.
        what = "start on this machine" if address is None else f"join the cluster at {address}"
        raise ServerUnavailableError(f"Ray cannot {what}: {error}") from error
    try:
        yield from _steps(ray.data, job, todo)
    except ray.exceptions.RayError as error:
        raise ServerUnavailableError(f"a worker of Ray failed: {error}") from error
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Tries to connect, because Ray waits for minutes where nothing answers."""
    cluster = urlsplit(address if "://" in address else f"//{address}")
    try:
        where = cluster.hostname, cluster.port
    except ValueError as error:
        raise WrongAddressError(f"{address} is no address of a Ray cluster: {error}") from error
    # Others, such as "auto", are Ray's to resolve.
    if None in where:
        return
    try:
        socket.create_connection(where, CONNECT_SECONDS).close()
    except OSError as error:
        raise ServerUnavailableError(
            f"no Ray cluster answers at {address} ({sentence(error)}): its head's address ends in "
            "the port of `ray start --head`, 6379 by default"
        ) from error


def _steps(data: Any, job: Job, todo: Sequence[int]) -> Iterator[Step]:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    actors = ACTORS * len(job.connections)
    parts = (
        data.from_items([{"part": number} for number in todo], override_num_blocks=len(todo))
        .map(partial(_read, job), num_cpus=READER_CPUS)
        .map(
            _Recogniser,
            fn_constructor_args=(job,),
            compute=data.ActorPoolStrategy(size=min(actors, len(todo))),
            num_cpus=ACTOR_CPUS,
        )
        .map(partial(_write, job), num_cpus=WRITER_CPUS)
    )
    for row in parts.iter_rows():
        if row["stopped"]:
            raise ServerUnavailableError(row["stopped"])
        yield Step(row["files"], row["failed"])


def _read(job: Job, item: Item) -> Item:
    """Reads the recordings of a part."""
    number, left = int(item["part"]), READ_AHEAD_BYTES
    expected = TIMELINE_BYTES if job.timeline else CLIP_BYTES
    lock = Lock()

    def load(recording: Recording) -> Recording | StoreError:
        nonlocal left
        reserved = expected if recording.size is None else recording.size
        with lock:
            if left < reserved:
                return recording
            left -= reserved
        try:
            loaded = recording.loaded()
        except StoreError as error:
            return error
        with lock:
            left += reserved - len(loaded.data or b"")
        return loaded

    try:
        job.check_machine()
        recordings = list(_many.stream(job.recordings(number), load, READERS, ordered=True))
    except (OSError, Emotion2VecError) as error:
        return {"part": number, "recordings": b"", "stopped": sentence(error)}
    for each in recordings:
        if isinstance(each, StoreError):
            return {"part": number, "recordings": b"", "stopped": str(each)}
    return {"part": number, "recordings": pickle.dumps(recordings), "stopped": ""}


class _Recogniser:
    """Recognises the recordings of a part; the services take turns by its number."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._clients = [connection.open(job.judges) for connection in job.connections]
        for client in self._clients:
            client.retry_seconds = OUTAGE_SECONDS

    def __call__(self, item: Item) -> Item:
        number = int(item["part"])
        client = self._clients[number % len(self._clients)]
        part = Part(self._job, number, client)
        done = {"written": b"", "files": 0, "failed": 0, "stopped": item["stopped"]}
        if done["stopped"]:
            return done
        try:
            self._job.check_machine()
            with closing(self._job.rows(client, pickle.loads(item["recordings"]))) as rows:
                for row in rows:
                    part.add(row)
            part.retry()
            self._job.check_model(client)
            written = pickle.dumps(part.files())
        except (OSError, Emotion2VecError) as error:
            # Ray would try again if this were raised, and then show where in the code it was.
            return {**done, "stopped": sentence(error)}
        return {**done, "written": written, "files": self._job.size(number), "failed": part.failed}


def _write(job: Job, item: Item) -> Item:
    """Writes the files of a part."""
    stopped = item["stopped"]
    try:
        if not stopped:
            job.check_machine()
            for name, data in pickle.loads(item["written"]).items():
                job.store.put(name, data)
    except (OSError, Emotion2VecError) as error:
        stopped = sentence(error)
    return {"files": item["files"], "failed": item["failed"], "stopped": stopped}
