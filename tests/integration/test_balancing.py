"""Several Tritons behind one address: load is spread, and nothing is lost when one ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.launch import wait_until
from emotion2vec_client import Client, _balancing
from server import settings as server_settings
from server.triton import Triton
from tests.conftest import SAMPLES, serving, settings_for
from tests.integration.gateways import Gateway, computed, wav
from tests.integration.names import naming

HAPPY = SAMPLES / "happy.wav"
STORY = SAMPLES / "story.ogg"

Start = Callable[..., Triton]


@pytest.fixture
def start(tiny_repository: Path) -> Iterator[Start]:
    """Starts Tritons, which end with the test."""
    with ExitStack() as stack:

        def one(**changes: object) -> Triton:
            settings = replace(settings_for(tiny_repository), **changes)  # type: ignore[arg-type]
            return stack.enter_context(serving(settings))

        yield one


def address(triton: Triton) -> str:
    return f"{triton.settings.host}:{triton.settings.grpc_port}"


def test_three_share_the_load_and_lose_nothing_when_two_end(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While a connection is renewed, the others get its share.
    monkeypatch.setattr(server_settings, "CONNECTION_SECONDS", 3600)
    tritons = [start() for _ in range(3)]
    addresses = ",".join(map(address, tritons))
    with Gateway(addresses, tmp_path) as gateway:
        data = HAPPY.read_bytes()

        def ask(_: int) -> str:
            answer = gateway.predict(data)
            return "" if answer.status_code == 200 else answer.text

        with ThreadPoolExecutor(6) as pool, Client(addresses) as client:
            before = [computed(triton) for triton in tritons]
            list(pool.map(lambda _: client.predict(HAPPY), range(90)))
            for triton, count in zip(tritons, before, strict=True):
                assert computed(triton) - count == pytest.approx(30, rel=0.1)

            # One is killed and one is told to stop, with requests on their way.
            answers = [pool.submit(ask, number) for number in range(40)]
            wait_until(lambda: sum(each.done() for each in answers) >= 5, "requests are answered")
            tritons[0].kill()
            answers += [pool.submit(ask, number) for number in range(40)]
            tritons[1].stop()
            answers += [pool.submit(ask, number) for number in range(20)]
            assert {answer.result() for answer in answers} == {""}


def test_a_timeline_shows_its_progress_and_is_cancelled_on_its_own_server(
    start: Start, tmp_path: Path
) -> None:
    """Requests about it reach any server; those that do not have it say so, or do nothing."""
    tritons = [start() for _ in range(2)]
    with (
        Gateway(",".join(map(address, tritons)), tmp_path) as gateway,
        Client(address(tritons[0])) as client,
    ):
        samples = client.decode(STORY).samples
        long = wav(np.tile(samples, 30))
        done = gateway.finished(gateway.timeline(STORY).json())
        assert done["status"] == "done"
        job = gateway.timeline(long).json()
        seen: list[float] = []

        def progresses() -> bool:
            seen.append(gateway.http.get(job["url"]).json()["progress"])
            return seen[-1] > 0

        wait_until(progresses, "the progress is seen")
        assert seen == sorted(seen)
        assert gateway.http.delete(job["url"]).json()["status"] == "cancelled"
        # The next ones are not behind it.
        for _ in tritons:
            again = gateway.finished(gateway.timeline(STORY).json())
            assert again["status"] == "done"


def test_a_name_finds_servers_that_come_later(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gRPC's own resolver, which asks again when a connection has reached its age."""
    monkeypatch.setattr(server_settings, "CONNECTION_SECONDS", 1)
    first = start()
    port = first.settings.grpc_port
    second = start(host="127.0.0.2", grpc_port=port)
    with naming("127.0.0.1") as names:
        monkeypatch.setattr(
            _balancing, "target", lambda _: f"dns://127.0.0.1:{names.port}/triton.test:{port}"
        )
        monkeypatch.setattr("emotion2vec_client._grpc.target", _balancing.target)
        with Client(f"triton.test:{port}") as client:
            warm = computed(second)
            for _ in range(4):
                client.predict(HAPPY)
            assert computed(second) == warm
            names.addresses = ["127.0.0.1", "127.0.0.2"]

            def reached() -> bool:
                client.predict(HAPPY)
                return computed(second) > warm

            wait_until(reached, "the second server is found")
            # One that has gone is left out.
            names.addresses = ["127.0.0.2"]
            first.kill()
            for _ in range(6):
                client.predict(HAPPY)
