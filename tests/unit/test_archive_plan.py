"""An archive keeps a part of its names in memory, and reads what it can send."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emotion2vec_client import Client
from emotion2vec_client._judges import NOBODY
from emotion2vec_client.archive import local, on_ray
from emotion2vec_client.archive import plan as plans
from emotion2vec_client.archive.job import Job
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.stores import Store
from emotion2vec_client.cli.connection import Connection
from tests.unit.cli_fakes import FakeClient


def generated(count: int) -> Iterator[Recording]:
    for number in range(count):
        yield Recording(f"s3://bucket/calls/{number:09}.wav", f"s3://bucket/calls/{number:09}.wav")


def test_memory_does_not_grow_with_the_number_of_names(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))

    def peak(count: int) -> int:
        store.remove(plans.PLAN)
        tracemalloc.start()
        plans.write_plan(store, generated(count), {}, {}, 1000, lambda listed: None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2_000)  # What is imported late.
    assert peak(200_000) < 1.2 * peak(20_000)


def test_names_are_read_only_when_they_can_be_sent(tmp_path: Path) -> None:
    """Millions of names ahead of the work: the plan gives a part at a time."""
    store = Store.of(str(tmp_path))
    read: list[int] = []

    class Watched(Job):
        def recordings(self, number: int) -> list[Recording]:
            read.append(number)
            return super().recordings(number)

    card: dict[str, Any] = {"weights": "pretrained", "checkpoint": "a", "embed_dim": 3}
    card["sha256"] = "0"
    plan = plans.write_plan(store, generated(100), {}, card, 10, lambda listed: None)
    job = Watched(store, plan, [Connection()], NOBODY, 1, False, False)
    client: Any = FakeClient("a:1")
    steps = local.run(job, client, range(10))
    assert len(list(islice(steps, 25))) == 25
    assert read == [0, 1, 2]
    steps.close()


def test_a_recording_is_audio_for_the_client(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    sent: list[bytes] = []

    def answer(self: Client, audio: bytes, *others: object) -> None:
        sent.append(audio)
        raise ValueError("no answer")

    monkeypatch.setattr(Client, "_predict", answer)
    path = str(tmp_path / "a")
    known = Recording("c", problem="known to be bad")
    with Client("localhost:1") as client:
        asked = [
            Recording("a", path),
            Recording("b", path, 2, 3),
            known,
            Recording("d", path, 8, 5),
        ]
        found = list(client.predict_many(asked))  # type: ignore[arg-type]
    assert sorted(sent) == [b"0123456789", b"234"]
    assert str(found[2].error) == "known to be bad"
    assert "ends within d" in str(found[3].error)


def test_a_task_of_ray_reads_a_part_ahead_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "READ_AHEAD_BYTES", 100)
    monkeypatch.setattr(on_ray, "CLIP_BYTES", 10)
    for number in range(40):
        (tmp_path / f"{number}.wav").write_bytes(bytes(10))
    recordings = [Recording(path.name, str(path)) for path in sorted(tmp_path.iterdir())]
    job = SimpleNamespace(
        timeline=False, recordings=lambda number: recordings, check_machine=lambda: None
    )
    found = pickle.loads(on_ray._read(cast("Job", job), {"part": 0})["recordings"])
    assert [each.name for each in found] == [each.name for each in recordings]
    assert sum(len(each.data or b"") for each in found) == 100
