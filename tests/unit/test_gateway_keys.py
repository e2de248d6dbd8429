"""A gateway with API keys: how to send a key, and which endpoints need none."""

from __future__ import annotations

import base64

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from gateway import recognition
from gateway.settings import Settings
from tests.unit.test_gateway import ask, make

KEY = "correct horse"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return make(tmp_path_factory.mktemp("outputs"), api_keys=(SecretStr("another"), SecretStr(KEY)))


def basic(password: str) -> dict[str, str]:
    code = base64.b64encode(f"anyone:{password}".encode()).decode()
    return {"Authorization": f"Basic {code}"}


CLOSED = ["/", "/en/", "/zh/", "/metrics", "/info", "/docs", "/openapi.json", "/page/timeline.js"]
CLOSED += ["/outputs/outputs_20260104_120000/result.json", "/en/gradio_api/info"]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Digest {KEY}"},
        {"Authorization": "Basic ???"},
        basic("wrong"),
    ],
)
def test_without_a_key_every_endpoint_is_closed(
    locked: FastAPI, path: str, headers: dict[str, str]
) -> None:
    answer = ask(locked, "GET", path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "key_needed"
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_without_a_key_nothing_is_recognised(locked: FastAPI) -> None:
    answer = ask(locked, "POST", "/api/predict/", files={"audio": b"RIFF"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, basic(KEY)]
)
def test_each_way_to_send_a_key_opens(locked: FastAPI, headers: dict[str, str]) -> None:
    assert ask(locked, "GET", "/metrics", headers=headers).status_code == 200


def test_monitoring_needs_no_key(locked: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "READY_SECONDS", 0.1)
    assert ask(locked, "GET", "/health").status_code == 200
    assert ask(locked, "GET", "/ready").status_code == 503


def test_keys_come_from_the_environment_and_are_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("E2V_API_KEYS", f"one, {KEY} ,")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", KEY]
    assert KEY not in repr(settings)
