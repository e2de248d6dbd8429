"""The connection options of every command."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from emotion2vec_client import TLS, Client, ServerUnavailableError
from emotion2vec_client._retry import NOTICE_SECONDS, Outage, logger
from emotion2vec_client.cli import connection, main
from emotion2vec_client.cli.connection import Connection, outages_reported
from tests.unit.cli_fakes import FakeClient, fake, touch

__all__ = ["fake"]

COMMANDS = [
    ["predict", "a.wav"],
    ["timeline", "a.wav"],
    ["info"],
    ["similarity", "a.wav", "b.wav"],
    ["map", "a.wav", "b.wav", "c.wav", "-o", "map.html"],
    ["cluster", "a.wav", "b.wav", "c.wav"],
    ["head", "fit", "labels.csv", "-o", "head.json"],
    ["evaluate", "labels.csv", "--label-map", "map.json"],
    ["calibrate", "labels.csv", "--label-map", "map.json", "-o", "policy.json"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_that_connects_takes_them_all(
    command: list[str], fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeClient] = []

    class Noted(fake):  # type: ignore[misc, valid-type]
        def __init__(self, url: str, **options: object) -> None:
            super().__init__(url, **options)
            made.append(self)

        def model_info(self) -> object:
            raise ServerUnavailableError("that is enough")

    monkeypatch.setattr(connection, "Client", Noted)
    touch("a.wav", "b.wav", "c.wav", "d.wav")
    Path("labels.csv").write_text("file,label\na.wav,x\nb.wav,y\nc.wav,x\nd.wav,y\n")
    Path("map.json").write_text('{"x": "happy", "y": "sad"}')
    options = ["--url", "grpcs://host:1", "--api-key", "s3cret"]
    options += ["--tls-ca", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    assert main([*command, *options]) == 1
    [client] = made
    assert client.url == "grpcs://host:1"
    assert client.options["api_key"] == "s3cret"
    assert client.options["tls"] == TLS("ca.pem", "cert.pem", "key.pem")
    monkeypatch.setenv("E2V_TRITON_API_KEY", "from-the-environment")
    monkeypatch.setenv("E2V_TRITON_URL", "host:2")
    assert main(command) == 1
    assert made[1].url == "host:2"
    assert made[1].options["api_key"] == "from-the-environment"
    assert made[1].options["tls"] is None


def test_the_key_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connection, "Client", Client)
    monkeypatch.setenv("E2V_TRITON_API_KEY", "s3cret\n")
    assert main(["info", "--help"]) == 0
    # `$(cat key)` removes a line break at the end of a key; a file of variables keeps it.
    for url in ("localhost:1", "http://localhost:1"):
        assert main(["info", "--url", url]) == 2
    captured = capsys.readouterr()
    assert "E2V_TRITON_API_KEY" in captured.out
    assert captured.err.count("api_key has characters that a header cannot have") == 2
    assert "s3cret" not in captured.out + captured.err + repr(Connection(api_key="s3cret"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--tls-ca", "none.pem", "--url", "grpcs://localhost:1"], "file ca=none.pem does not"),
        (["--tls-ca", "none.pem", "--url", "https://localhost:1"], "file ca=none.pem does not"),
        (["--tls-ca", "bad.pem", "--url", "https://localhost:1"], "give PEM files"),
        (["--tls-ca", "bad.pem"], "'localhost:8001' is not grpcs:// or https://"),
        (["--tls-cert", "bad.pem", "--url", "grpcs://localhost:1"], "give cert and key"),
        (["--url", "localhost:1/path"], "give host:port for gRPC"),
    ],
)
def test_a_connection_that_makes_no_sense_is_one_sentence(
    options: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(connection, "Client", Client)
    Path("bad.pem").write_text("no certificate")
    assert main(["info", *options]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_long_outage_and_its_end_are_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("emotion2vec_client._retry.time.monotonic", lambda: now)
    outages = [Outage(60), Outage(60)]
    error = ServerUnavailableError("no server is ready")
    with outages_reported(), outages_reported():
        # A queue that is full for a moment is not reported.
        outages[0].delay(0, error)
        outages[0].over()
        for _ in range(3):
            for outage in outages:
                outage.delay(1, error)
            now += NOTICE_SECONDS
        assert capsys.readouterr().err == (
            "emotion2vec: waiting for the server, for up to 57 s more: no server is ready\n"
        )
        for outage in outages:
            outage.over()
            outage.over()
        assert capsys.readouterr().err == "emotion2vec: the server answers again\n"
    assert not logger.handlers
    assert logger.level == logging.NOTSET
    assert os.environ.get("E2V_TRITON_API_KEY") is None
