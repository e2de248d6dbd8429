"""TLS and mutual TLS with the real Triton, and headers that reach the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from emotion2vec_client import TLS, AccessDeniedError, Client, ServerUnavailableError
from tests.conftest import SAMPLES, serving, settings_for

HAPPY = SAMPLES / "happy.wav"


@dataclass(frozen=True)
class Certificates:
    """Certificate files made for one test run."""

    ca: str
    server_cert: str
    server_key: str
    client_cert: str
    client_key: str
    other_ca: str


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")

    def write(name: str, blob: trustme.Blob) -> str:
        blob.write_to_path(folder / name)
        return str(folder / name)

    ca = trustme.CA()
    server, client = ca.issue_cert("localhost"), ca.issue_cert("client")
    return Certificates(
        ca=write("ca.pem", ca.cert_pem),
        server_cert=write("server.pem", server.cert_chain_pems[0]),
        server_key=write("server.key", server.private_key_pem),
        client_cert=write("client.pem", client.cert_chain_pems[0]),
        client_key=write("client.key", client.private_key_pem),
        other_ca=write("other.pem", trustme.CA().cert_pem),
    )


@pytest.fixture(scope="module")
def secure_url(tiny_repository: Path, certificates: Certificates) -> Iterator[str]:
    settings = replace(
        settings_for(tiny_repository),
        tls_cert=Path(certificates.server_cert),
        tls_key=Path(certificates.server_key),
        tls_ca=Path(certificates.ca),
    )
    with serving(settings) as triton:
        yield f"grpcs://localhost:{triton.settings.grpc_port}"


def test_mutual_tls_reaches_the_server(secure_url: str, certificates: Certificates) -> None:
    tls = TLS(certificates.ca, certificates.client_cert, certificates.client_key)
    with Client(secure_url, tls=tls) as client:
        assert client.predict(HAPPY).emotion


def test_without_the_right_certificates_there_is_no_way_in(
    secure_url: str, certificates: Certificates
) -> None:
    key = (certificates.client_cert, certificates.client_key)
    for tls in (TLS(certificates.ca), TLS(certificates.other_ca, *key)):
        with (
            Client(secure_url, tls=tls, retry_seconds=0, timeout=5) as client,
            pytest.raises(ServerUnavailableError),
        ):
            client.predict(HAPPY)


def test_certificates_that_are_not_there_are_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"ca=/nowhere/ca\.pem"):
        Client("grpcs://localhost:9", tls=TLS("/nowhere/ca.pem"))
    with pytest.raises(ValueError, match=r"not grpcs:// or https://"):
        Client("localhost:9", tls=TLS("ca.pem"))


def test_a_key_is_sent_and_its_refusal_is_reported() -> None:
    seen: list[str | None] = []

    class Guard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            seen.append(self.headers["X-Team"])
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Guard) as guard:
        threading.Thread(target=guard.serve_forever, args=[0.02], daemon=True).start()
        url = f"http://127.0.0.1:{guard.server_port}"
        with (
            Client(url, api_key="s3cret", headers={"X-Team": "blue"}) as client,
            pytest.raises(AccessDeniedError, match="does not accept the API key") as caught,
        ):
            client.model_info()
        guard.shutdown()
    assert seen == ["Bearer s3cret", "blue"]
    assert "s3cret" not in str(caught.value)
