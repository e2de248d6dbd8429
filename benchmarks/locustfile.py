"""Users of the service for Locust: ``locust -f benchmarks/locustfile.py --host localhost``.

`GrpcUser` asks Triton through the client library, `RestUser` the gateway. Both send the clips of
`corpus`. Name one to run it alone: ``locust -f benchmarks/locustfile.py GrpcUser --host …``.
"""

from __future__ import annotations

import atexit
import os
import random
import sys
import time
from typing import Any

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

# gRPC waits in C, where Locust's patches do not reach: without this one call would stop all users.
# Here, because it must come after Locust's import and before the first channel.
grpc.experimental.gevent.init_gevent()

GRPC_PORT, REST_PORT = 8001, 7860
TIMEOUT_SECONDS = 120.0
"""Longer than people wait, so that slow answers are seen as slow and not only as missing."""

CONNECTIONS = 256


class SpeechUser(User):
    """Sends clips, one after the other, or at random times without waiting for answers.

    Attributes:
        deck: Where the clips of all users come from.
        arrivals: Clips per second that this user sends at random times (Poisson). An answer's time
            then counts from when its clip was due, so that a late start is part of it. At 0 the
            next clip is sent when the answer is there.
        api_key: For servers that ask for one.
    """

    abstract = True
    protocol = ""
    deck: Deck
    arrivals = 0.0
    api_key: str | None = None

    def on_start(self) -> None:
        """Connects; the first arrival is as random as those after it."""
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
        """Tells Locust of what it sees by itself where a user waits for its answer."""
        error = sending.exception
        self.environment.events.user_error.fire(
            user_instance=self, exception=error, tb=error.__traceback__
        )

    def on_stop(self) -> None:
        """Waits for the answers that are still to come, for as long as Locust lets it."""
        try:
            self._flying.join(self.environment.stop_timeout)
        finally:
            self._flying.kill()
            # A channel that is left open hangs the process at its end.
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
        """Sends one clip and waits for its scores; raises where there are none."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Closes it."""
        raise NotImplementedError


class GrpcUser(SpeechUser):
    """Asks Triton over gRPC."""

    protocol = "gRPC"
    host = "localhost"

    def connect(self) -> None:
        """One connection for each user, as for each of a service's clients."""
        url = with_port(self.host, GRPC_PORT).replace("http", "grpc", 1)
        # A refusal is a result here, and not hidden by trying again.
        self._client = Client(url, timeout=TIMEOUT_SECONDS, retry_seconds=0, api_key=self.api_key)

    def ask(self, clip: Clip) -> None:
        """Predicts with the client library."""
        self._client.predict(clip.data)

    def disconnect(self) -> None:
        """Closes the connection."""
        self._client.close()


class RestUser(SpeechUser):
    """Asks the gateway."""

    protocol = "REST"
    host = "localhost"

    def connect(self) -> None:
        """A session keeps its connections open."""
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
            # From a proxy, or no gateway at all.
            sentence = f"{answer.reason}, at {answer.url}"
        super().__init__(f"{answer.status_code} {sentence}")


def with_port(host: str, port: int) -> str:
    """A host as ``http://host:port`` or ``https://host:port``; a port that it names stays."""
    scheme, _, authority = host.rstrip("/").rpartition("://")
    if ":" not in authority.rpartition("]")[2]:
        authority = f"{authority}:{port}"
    return f"{scheme or 'http'}://{authority}"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: Any) -> None:
    """Options of the command line, and fields of the web page."""
    parser.add_argument(
        "--longest", type=float, default=30, help="send clips of up to so many seconds"
    )
    parser.add_argument(
        "--arrivals",
        type=float,
        default=0,
        help="clips per second that each user sends at random times, without waiting for answers; "
        "0: each sends the next when it has its answer",
    )
    parser.add_argument(
        "--api-key", is_secret=True, default="", help="for servers that ask for one"
    )


exit_codes: list[int] = []
"""With what Locust is about to end."""


@events.quit.add_listener  # type: ignore[untyped-decorator]
def remember(exit_code: int, **_: object) -> None:
    """Notes it for `leave`."""
    exit_codes.append(exit_code)


@atexit.register
def leave() -> None:
    """Ends Locust at once: gRPC's finalizers can wait forever for gevent's threads, now gone."""
    if exit_codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_codes[-1])


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def read_options(environment: Any, **_: object) -> None:
    """Takes them over whenever a test starts."""
    options = environment.parsed_options
    chosen = [clip for clip in corpus.clips() if clip.seconds <= options.longest]
    SpeechUser.deck = Deck(chosen)
    SpeechUser.arrivals = options.arrivals
    SpeechUser.api_key = options.api_key or None
