"""Addresses at which something other than the intended port of Triton answers."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from emotion2vec_client import (
    AsyncClient,
    Client,
    Emotion2VecError,
    ServerUnavailableError,
    WrongAddressError,
    _protocol,
)
from emotion2vec_client._balancing import SERVICE_CONFIG, is_balanced, target
from emotion2vec_client._endpoint import parse
from emotion2vec_client.cli import main
from tests.conftest import free_ports

GATEWAY = {"code": "not_found", "detail": "Not Found"}
PATIENCE = 10
"""Seconds for which a client would retry before it reports that there is no server."""


@pytest.fixture(params=[(404, GATEWAY), (401, {"code": "no_key", "detail": "a key is needed"})])
def gateway(request: pytest.FixtureRequest) -> Iterator[str]:
    """Answers unknown paths as the gateway does, with and without API keys."""
    yield from serve(*request.param)


@pytest.fixture
def web() -> Iterator[str]:
    """Some other HTTP server."""
    yield from serve(404, {"error": "no such model"})


def serve(
    status: int, body: dict[str, str] | bytes, post_status: int | None = None
) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            posted = self.command == "POST"
            self.send_response(post_status or status if posted else status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture
def grpc_server() -> Iterator[str]:
    """A gRPC server without any methods."""
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


ANYTHING = {
    "Triton's metrics": (b"", 405),
    "text": (b"# HELP nv_inference_count", 200),
    "page": (b"<html>", 200),
    "object": (b"{}", 200),
    "list": (b"[1]", 200),
    "odd": (b'{"name": "encoder", "parameters": 3}', 200),
}


@pytest.fixture(params=ANYTHING.values(), ids=list(ANYTHING))
def anything(request: pytest.FixtureRequest) -> Iterator[str]:
    """A web server that answers every GET with 200."""
    body, post_status = request.param
    yield from serve(200, body, post_status)


def refused(url: str) -> list[str]:
    """The error messages of all methods, with asyncio and without."""
    told = []

    def note(error: BaseException | None) -> None:
        assert isinstance(error, WrongAddressError), error
        told.append(str(error))

    with Client(url, retry_seconds=PATIENCE) as client:
        for ask in (
            client.model_info,
            lambda: client.predict(b"RIFF"),
            lambda: client.timeline(b"RIFF"),
            lambda: client.decode(b"RIFF"),
            lambda: client.wait_until_ready(PATIENCE),
        ):
            with pytest.raises(WrongAddressError) as caught:
                ask()
            note(caught.value)
        for outcome in client.predict_many([b"RIFF", b"RIFF"]):
            note(outcome.error)

    async def ask_all() -> None:
        async with AsyncClient(url, retry_seconds=PATIENCE) as client:
            for call in (
                client.model_info(),
                client.predict(b"RIFF"),
                client.decode(b"RIFF"),
                client.wait_until_ready(PATIENCE),
            ):
                with pytest.raises(WrongAddressError) as caught:
                    await call
                note(caught.value)

    asyncio.run(ask_all())
    return told


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_gateway_is_distinguished_from_triton(
    gateway: str, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for told in refused(scheme + gateway):
        assert "is the address of the gateway's page and REST API" in told
        assert "by default localhost:8001 (gRPC) or http://localhost:8000" in told
    assert main(["info", "--url", scheme + gateway]) == 1
    error = capsys.readouterr().err
    assert gateway in error and "the gateway's page" in error
    assert error.count("\n") == 1


def test_the_ports_of_triton_are_distinguished(web: str, grpc_server: str) -> None:
    for told in refused(web):
        assert f"answers in HTTP and not in gRPC: give http://{web} if that is Triton's" in told
    for told in refused(f"http://{grpc_server}"):
        assert f"does not answer in HTTP: give {grpc_server} if that is Triton's gRPC" in told


def test_a_web_server_is_distinguished_from_triton(
    anything: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for told in refused(f"http://{anything}"):
        assert told.startswith(f"http://{anything} answers in HTTP, but not as Triton's HTTP port")
    assert main(["info", "--url", f"http://{anything}"]) == 1
    error = capsys.readouterr().err
    assert "give that, by default http://localhost:8000" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("scheme", ["grpc://", "http://"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_missing_server_is_still_reported_as_missing(
    scheme: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Loading the trusted certificates for every client would take most of the time.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", None)
    url = f"{scheme}{host}:{free_ports(1)[0]}"
    with (
        Client(url, retry_seconds=0) as client,
        pytest.raises(ServerUnavailableError) as caught,
    ):
        client.model_info()
    # The message must not contain the addresses and file names of gRPC's own text.
    assert str(caught.value) == (
        f"no emotion2vec-triton server is ready at {url}: start it with 'make run', or check the "
        "address (Connection refused)"
    )


GRPC_REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv6:%5B::1%5D:8001: Failed to "
    "connect to remote host: connect: Connection refused (111)"
)


@pytest.mark.parametrize(
    ("url", "reason", "told"),
    [
        ("grpc://[::1]:8001", GRPC_REFUSED, "start it with 'make run', or check the address"),
        ("grpc://10.0.0.7:8001", GRPC_REFUSED, "check the address, or ask who runs it"),
        ("grpc://a:8001", "errors resolving a:8001: [b: c: Not found]", "check the address, or"),
        ("https://voice.example:443", "Name not known", "check the address, or ask who runs it"),
    ],
)
def test_only_a_server_of_this_machine_can_be_started(url: str, reason: str, told: str) -> None:
    sentence = str(_protocol.error_of("UNAVAILABLE", reason, url, 1))
    assert sentence.startswith(f"no emotion2vec-triton server is ready at {url}: {told}")
    assert sentence.endswith((" (Connection refused)", " (Not found)", " (Name not known)"))


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        ("CANCELLED", "CANCELLED", ServerUnavailableError),
        ("INTERNAL", "Stub process 'encoder_0_0' is not healthy.", ServerUnavailableError),
        # Who cancels a timeline does not want it again.
        ("CANCELLED", "the request was cancelled", Emotion2VecError),
    ],
)
def test_what_a_server_that_ends_says_is_tried_again(
    status: str, reason: str, kind: type[Emotion2VecError]
) -> None:
    assert type(_protocol.error_of(status, reason, "grpc://127.0.0.1:8001", 1)) is kind


def test_several_servers_are_a_list_for_grpc() -> None:
    endpoint = parse("grpc://10.0.0.1:8001, 10.0.0.2,10.0.0.3:9001")
    assert endpoint.url == "grpc://10.0.0.1:8001,10.0.0.2:8001,10.0.0.3:9001"
    assert is_balanced(endpoint)
    assert target(endpoint) == "ipv4:10.0.0.1:8001,10.0.0.2:8001,10.0.0.3:9001"
    assert target(parse("[::1]:1,[::1]:2")) == "ipv6:[::1]:1,[::1]:2"
    assert target(parse("localhost:1,localhost:2")) == "ipv4:127.0.0.1:1,127.0.0.1:2"
    # A name is resolved by gRPC, again and again.
    assert target(parse("triton.example.org")) == "dns:///triton.example.org:8001"
    assert is_balanced(parse("grpcs://triton.example.org"))
    for alone in ("localhost:8001", "127.0.0.1", "[::1]:8001"):
        assert not is_balanced(parse(alone))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://a:8000,b:8000", "several servers are for gRPC without TLS"),
        ("grpcs://a,b", "give one name that has the addresses of all"),
        ("a:8001,", "host:port for each server"),
        ("a,http://b", "host:port for each server"),
        ("a,b:port", "is not an address"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Client(url)


def test_a_name_without_an_address_is_left_out_unless_all_are_so() -> None:
    assert target(parse("127.0.0.1:1,no.such.invalid")) == "ipv4:127.0.0.1:1"
    with pytest.raises(ServerUnavailableError, match=r"no\.such\.invalid:8001: .*check the names"):
        target(parse("no.such.invalid,neither.invalid"))


def test_a_call_that_was_cancelled_is_not_repeated_elsewhere() -> None:
    [method] = SERVICE_CONFIG["methodConfig"]
    assert "CANCELLED" not in method["retryPolicy"]["retryableStatusCodes"]
