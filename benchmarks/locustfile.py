"""Users of the service for Locust: ``locust -f benchmarks/locustfile.py --host localhost``.

`GrpcUser` calls Triton through the client library, `RestUser` calls the gateway. Both send the
clips of `corpus`. Name one to run it alone: ``locust -f benchmarks/locustfile.py GrpcUser …``.
"""

from __future__ import annotations

import atexit
import os
import random
import signal
import sys
import time
from typing import Any

import gevent
import grpc.experimental.gevent
import requests
from gevent import Greenlet
from gevent.pool import Group
from locust import User, events, task
from locust.exception import StopUser
from requests.adapters import HTTPAdapter

from benchmarks import corpus
from benchmarks.corpus import Clip, Deck
from emotion2vec_client import Client, Emotion2VecError

# gRPC waits in C, which gevent does not patch: without this, each call would block all users. It
# must come after Locust's import and before the first channel.
grpc.experimental.gevent.init_gevent()

GRPC_PORT, REST_PORT = 8001, 7860
TIMEOUT_SECONDS = 120.0
"""Longer than people wait, so that slow answers count as slow and not as errors."""

CONNECTIONS = 256


class SpeechUser(User):
    """Sends clips one after the other, or at random times without waiting for answers.

    Attributes:
        deck: Deals the clips to all users.
        arrivals: Clips per second that this user sends at random times (Poisson). Latency then
            counts from when the clip was due, so that it includes a late start. At 0, the user
            sends the next clip after each answer.
        api_key: For servers that require one.
    """

    abstract = True
    protocol = ""
    deck: Deck
    arrivals = 0.0
    api_key: str | None = None

    def on_start(self) -> None:
        """Connects, and waits for the first arrival, which is random like all others."""
        self._flying = Group()
        self.connect()
        if self.arrivals:
            self._due = time.perf_counter()
            time.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds until the next clip."""
        if not self.arrivals:
            return 0.0
        self._due += random.expovariate(self.arrivals)
        return max(0.0, self._due - time.perf_counter())

    @task
    def predict(self) -> None:
        """Sends the next clip."""
        clip = self.deck.draw()
        if clip is None:
            raise StopUser
        if self.arrivals:
            self._flying.spawn(self._send, clip, self._due).link_exception(self._on_surprise)
        else:
            self._send(clip, time.perf_counter())

    def _on_surprise(self, sending: Greenlet) -> None:
        """Reports an unexpected error to Locust, which cannot see it in a background task."""
        error = sending.exception
        self.environment.events.user_error.fire(
            user_instance=self, exception=error, tb=error.__traceback__
        )

    def on_stop(self) -> None:
        """Waits for the outstanding answers, until Locust's stop timeout."""
        try:
            self._flying.join(self.environment.stop_timeout)
        finally:
            self._flying.kill()
            # An open channel would hang the process at its end.
            self.disconnect()

    def _send(self, clip: Clip, due: float) -> None:
        error: Exception | None = None
        try:
            self.ask(clip)
        except (Emotion2VecError, requests.RequestException, RestError) as caught:
            error = caught
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=f"{clip.seconds:2d} s",
            response_time=(time.perf_counter() - due) * 1000,
            response_length=0,
            exception=error,
            context={"clip": clip, "due": due},
        )

    def connect(self) -> None:
        """Opens what `ask` needs."""
        raise NotImplementedError

    def ask(self, clip: Clip) -> None:
        """Sends one clip and waits for its scores; raises an error if there are none."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Closes the connection."""
        raise NotImplementedError


class GrpcUser(SpeechUser):
    """Calls Triton over gRPC."""

    protocol = "gRPC"
    host = "localhost"

    def connect(self) -> None:
        """Opens a connection per user, as real clients do."""
        url = with_port(self.host, GRPC_PORT).replace("http", "grpc", 1)
        # No retries: a refusal is a result here.
        self._client = Client(url, timeout=TIMEOUT_SECONDS, retry_seconds=0, api_key=self.api_key)

    def ask(self, clip: Clip) -> None:
        """Predicts with the client library."""
        self._client.predict(clip.data)

    def disconnect(self) -> None:
        """Closes the connection."""
        self._client.close()


class RestUser(SpeechUser):
    """Calls the gateway over REST."""

    protocol = "REST"
    host = "localhost"

    def connect(self) -> None:
        """Opens a session, which keeps its connections open."""
        self._url = with_port(self.host, REST_PORT) + "/api/predict/"
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
        if self.api_key:
            self._session.headers["Authorization"] = f"Bearer {self.api_key}"

    def ask(self, clip: Clip) -> None:
        """Uploads the file."""
        answer = self._session.post(
            self._url, files={"audio": (clip.name, clip.data)}, timeout=TIMEOUT_SECONDS
        )
        if answer.status_code != 200:
            raise RestError(answer)

    def disconnect(self) -> None:
        """Closes the connections."""
        self._session.close()


class RestError(Exception):
    """The gateway answered with a problem; its status, code and sentence are the message."""

    def __init__(self, answer: requests.Response) -> None:
        try:
            problem = answer.json()
            sentence = f"{problem['code']}: {problem['detail']}"
        except (ValueError, KeyError, TypeError):
            # The response comes from a proxy, or from something other than the gateway.
            sentence = f"{answer.reason}, at {answer.url}"
        super().__init__(f"{answer.status_code} {sentence}")


def with_port(host: str, port: int) -> str:
    """A host as ``http(s)://host:port``; the port is added only if the host has none."""
    scheme, _, authority = host.rstrip("/").rpartition("://")
    if ":" not in authority.rpartition("]")[2]:
        authority = f"{authority}:{port}"
    return f"{scheme or 'http'}://{authority}"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: Any) -> None:
    """Adds options to the command line, and fields to Locust's web page."""
    parser.add_argument(
        "--longest", type=float, default=30, help="longest clip to send, in seconds"
    )
    parser.add_argument(
        "--arrivals",
        type=float,
        default=0,
        help="clips per second that each user sends at random times, without waiting for answers; "
        "0: each user sends the next clip after its answer",
    )
    parser.add_argument(
        "--api-key", is_secret=True, default="", help="for servers that require one"
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def end_in_order(**_: object) -> None:
    """Makes Ctrl-C end Locust as SIGTERM does, when no task is running.

    As an exception it may strike while gRPC holds a lock, and then Locust never ends.
    """
    gevent.signal_handler(signal.SIGINT, os.kill, os.getpid(), signal.SIGTERM)


exit_codes: list[int] = []
"""The exit code of Locust, once it is about to end."""


@events.quit.add_listener  # type: ignore[untyped-decorator]
def remember(exit_code: int, **_: object) -> None:
    """Keeps the exit code for `leave`."""
    exit_codes.append(exit_code)


@atexit.register
def leave() -> None:
    """Ends Locust at once: gRPC's finalizers can wait forever for gevent threads that are gone."""
    if exit_codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_codes[-1])


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def read_options(environment: Any, **_: object) -> None:
    """Applies the options at the start of each test."""
    options = environment.parsed_options
    chosen = [clip for clip in corpus.clips() if clip.seconds <= options.longest]
    SpeechUser.deck = Deck(chosen)
    SpeechUser.arrivals = options.arrivals
    SpeechUser.api_key = options.api_key or None
