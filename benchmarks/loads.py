"""Puts a load on a server, with Locust users."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import gevent
import psutil
from locust.env import Environment

from benchmarks.corpus import Clip, Deck
from benchmarks.launch import LaunchError
from benchmarks.locustfile import TIMEOUT_SECONDS, GrpcUser, RestUser, SpeechUser
from benchmarks.measurement import Load, Measurement, Request
from benchmarks.triton_stats import Statistics, difference
from emotion2vec_client import Client, Emotion2VecError

USERS: dict[str, type[SpeechUser]] = {user.protocol: user for user in (GrpcUser, RestUser)}
TICK_SECONDS = 0.5
SETTLE_SECONDS = 600.0


OnProgress = Callable[[Load, Sequence[Request], float], None]
"""Called with a load, its requests so far, and the seconds since it began."""


def run(
    load: Load, hosts: Mapping[str, str], statistics: Statistics, on_progress: OnProgress
) -> Measurement:
    """Puts a load on a server and waits for all its answers.

    When its time is over, it still sends the rest of the round, so that all loads have the same mix
    of lengths.

    Args:
        load: What to send.
        hosts: Addresses by protocol, as Locust's ``--host`` accepts them.
        statistics: Statistics of the same server.
        on_progress: Called about twice a second.

    Raises:
        LaunchError: The server does not answer.
        Exception: Any unexpected error of a user, because it makes the measurement invalid.
    """
    requests: list[Request] = []
    surprises: list[Exception] = []

    def on_request(
        exception: Exception | None, response_time: float, context: dict, **_: object
    ) -> None:
        requests.append(
            Request(
                context["clip"],
                context["due"] - began,
                response_time / 1000,
                f"{type(exception).__name__}: {exception}" if exception else "",
            )
        )

    def on_surprise(exception: Exception, **_: object) -> None:
        surprises.append(exception)

    SpeechUser.deck = deck = Deck(load.clips)
    SpeechUser.arrivals = load.arrivals
    environment = Environment(
        user_classes=[USERS[load.protocol]],
        host=hosts[load.protocol],
        # Wait for the last answers.
        stop_timeout=TIMEOUT_SECONDS + 10,
    )
    environment.events.request.add_listener(on_request)  # type: ignore[no-untyped-call]
    environment.events.user_error.add_listener(on_surprise)  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()

    settle(hosts["gRPC"], min(load.clips, key=lambda clip: clip.seconds))
    before = statistics.read()
    cpu_before = _cpu_seconds()
    began = time.perf_counter()
    # One user is enough for random arrivals: it does not wait for answers.
    users = load.clients or 1
    runner.start(users, spawn_rate=users)
    assert runner.spawning_greenlet is not None
    runner.spawning_greenlet.join()
    closing = gevent.spawn_later(load.seconds, deck.close)
    try:
        while runner.user_count:
            gevent.sleep(TICK_SECONDS)
            on_progress(load, requests, time.perf_counter() - began)
            if surprises:
                raise surprises[0]
    except BaseException:
        environment.stop_timeout = 0.0
        raise
    finally:
        closing.kill()
        runner.quit()
    wall = max((request.due + request.latency for request in requests), default=load.seconds)
    return Measurement(
        load,
        requests,
        wall,
        difference(statistics.read(), before),
        _cpu_seconds() - cpu_before,
    )


def settle(host: str, clip: Clip) -> None:
    """Waits until the server's queue has no requests that an earlier load gave up.

    The queue is first in, first out: when a new clip is answered, all earlier requests are done.

    Raises:
        LaunchError: The clip is not answered.
    """
    with Client(host, timeout=SETTLE_SECONDS, retry_seconds=0) as client:
        try:
            client.predict(clip.data)
        except Emotion2VecError as error:
            raise LaunchError(
                f"no load can begin, because the server does not answer: {error}"
            ) from error


def _cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
