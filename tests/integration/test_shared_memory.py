"""A full /dev/shm: answers that do not fit end with an error, and the service keeps working."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.launch import own_disk
from benchmarks.service import Service
from emotion2vec_client import Client, Emotion2VecError
from server.reaper import SHM
from tests.conftest import SAMPLES
from tests.scenarios.faults import LENGTHS, answers_without_room


@pytest.fixture(scope="module")
def service(tiny_repository: Path) -> Iterator[Service]:
    """A service with a /dev/shm of its own; checks at the end that nothing was restarted."""
    with Service(tiny_repository, within=own_disk(SHM, 256)) as running:
        running.wait_until_ready()
        yield running
        assert "is running again" not in running.said


def test_clips_are_answered_all_the_same(service: Service) -> None:
    """Even the largest, because the service reserves their memory at the start."""
    seen = answers_without_room(service)
    assert seen.lost == []
    assert seen.answered == 2 * len(LENGTHS)


def test_a_timeline_ends_with_an_error_and_it_passes(service: Service) -> None:
    """Its answer may be larger than the memory reserved at the start."""
    minute = np.zeros(60 * 16_000, np.float32), 16_000
    with Client(service.grpc_url, retry_seconds=0) as client:
        service.fill(SHM)
        with pytest.raises(Emotion2VecError, match=r"has no room for an answer of 0\.1 MB"):
            client.timeline(minute, segmentation="fixed", window=1.0, hop=0.25, embedding=True)
        service.empty(SHM)
        assert client.timeline(SAMPLES / "happy.wav").segments


def test_without_room_at_the_start_it_says_so(tiny_repository: Path) -> None:
    with Service(tiny_repository, within=own_disk(SHM, 5)) as service:
        assert service.wait() == 1
    assert "5.0 MB free, and the service needs at least 6 MB" in service.said
