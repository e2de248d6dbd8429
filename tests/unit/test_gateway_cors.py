"""Pages of other sites: only the configured origins are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from gateway.check import SettingsError, read_settings
from tests.unit.test_gateway import ask, make
from tests.unit.test_gateway_keys import KEY

ORIGIN = "https://app.example.org"
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return make(
        tmp_path_factory.mktemp("outputs"),
        api_keys=(SecretStr(KEY),),
        cors_origins=(ORIGIN, "http://localhost:3000"),
    )


def preflight(origin: str, method: str, headers: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("header", ["authorization", "x-api-key", "content-type"])
def test_a_browser_may_ask_without_a_key_what_it_may_ask(
    app: FastAPI, method: str, header: str
) -> None:
    answer = ask(app, "OPTIONS", "/api/predict/", headers=preflight(ORIGIN, method, header))
    assert answer.status_code == 200
    assert answer.headers[ALLOWED] == ORIGIN
    assert "access-control-allow-credentials" not in answer.headers


def test_other_sites_are_not_let_in(app: FastAPI) -> None:
    for origin in ("https://evil.example.org", f"{ORIGIN}.evil.org", "http://app.example.org"):
        answer = ask(app, "OPTIONS", "/api/predict/", headers=preflight(origin, "POST", ""))
        assert answer.status_code == 400
        assert ALLOWED not in answer.headers
        headers = {"Origin": origin, "X-API-Key": KEY}
        assert ALLOWED not in ask(app, "GET", "/health", headers=headers).headers


@pytest.mark.parametrize(
    ("status", "request_headers", "options"),
    [
        (401, {}, {"files": {"audio": b"RIFF"}}),
        (400, {"X-API-Key": KEY}, {}),
        (413, {"X-API-Key": KEY}, {"content": bytes(200 * 2**20)}),
        (422, {"X-API-Key": KEY}, {"files": {"audio": b""}, "data": {"granularity": "word"}}),
    ],
)
def test_a_page_can_read_why_it_is_refused(
    app: FastAPI, status: int, request_headers: dict[str, str], options: dict[str, object]
) -> None:
    headers = {"Origin": ORIGIN, **request_headers}
    answer = ask(app, "POST", "/api/predict/", headers=headers, **options)
    assert answer.status_code == status
    assert answer.headers[ALLOWED] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "Location, Retry-After"


def test_all_sites_may_be_let_in(tmp_path: Path) -> None:
    headers = {"Origin": "https://anyone.example.com"}
    answer = ask(make(tmp_path, cors_origins=("*",)), "GET", "/health", headers=headers)
    assert answer.headers[ALLOWED] == "*"


@pytest.mark.parametrize(
    "origins",
    ["*", ORIGIN, "http://localhost:3000, https://[::1]:8443", "capacitor://localhost", "", " , "],
)
def test_origins_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, origins: str
) -> None:
    monkeypatch.setenv("E2V_CORS_ORIGINS", origins)
    parts = [part.strip() for part in origins.split(",")]
    assert read_settings().cors_origins == tuple(part for part in parts if part)


@pytest.mark.parametrize(
    "bad",
    [
        "app.example.org",
        "localhost:3000",
        f"{ORIGIN}/",
        f"{ORIGIN}/path",
        "https://App.example.org",
        "https://*.example.org",
        "https://user@example.org",
        "null",
    ],
)
def test_an_invalid_origin_is_reported(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setenv("E2V_CORS_ORIGINS", f"{ORIGIN}, {bad}")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    [sentence] = str(caught.value).splitlines()
    assert sentence.startswith(f"E2V_CORS_ORIGINS cannot be used: {bad!r} is not an origin")
