"""The gateway without Triton: endpoints, limits, settings and its description."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from audio.limits import REASONS
from emotion2vec_client import errors
from gateway import recognition
from gateway.__main__ import main
from gateway.app import create_app
from gateway.page.chinese import CHINESE
from gateway.page.render import RECORDING_HOURS
from gateway.problems import STATUS_OF_REASON
from gateway.routes.operations import CLIP_SECONDS, RECORDING_SECONDS
from gateway.settings import Settings
from gateway.stream.description import asyncapi
from tests.conftest import ROOT, free_ports

DOCS = ROOT / "docs" / "gateway.md"


def make(tmp_path: Path, **options: object) -> FastAPI:
    """A gateway without a running Triton."""
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    return create_app(Settings(triton_url=nowhere, outputs=tmp_path, **options))  # type: ignore[arg-type]


def ask_all(app: FastAPI, *requests: tuple[str, str, dict[str, object]]) -> list[httpx.Response]:
    """Sends requests one after the other in one event loop, as a client of Triton needs one."""

    async def call() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return [
                await client.request(method, path, **options)  # type: ignore[arg-type]
                for method, path, options in requests
            ]

    return asyncio.run(call())


def ask(app: FastAPI, method: str, path: str, **options: object) -> httpx.Response:
    [answer] = ask_all(app, (method, path, options))
    return answer


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return make(tmp_path_factory.mktemp("outputs"))


def test_without_triton_it_is_alive_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "READY_SECONDS", 0.1)
    health, ready, file, info, metrics = ask_all(
        make(tmp_path),
        ("GET", "/health", {}),
        ("GET", "/ready", {}),
        ("POST", "/api/predict/", {"files": {"audio": b"RIFF"}}),
        ("GET", "/info", {}),
        ("GET", "/metrics", {}),
    )
    assert health.json() == {"status": "ok"}
    for answer in (ready, file, info):
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert file.headers["retry-after"] == "1"
    assert "start it with 'make run'" in file.json()["detail"]
    assert "emotion2vec_model_info{" not in metrics.text


def test_an_upload_without_a_stated_length_is_refused_while_it_comes(app: FastAPI) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
        while True:
            taken += 1
            yield b"\0" * 2**20

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = ask(app, "POST", "/api/predict/", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    # The limit is sixteen files of ten megabytes and the form around them.
    assert taken <= 162


def test_an_upload_that_states_its_length_is_refused_unread(tmp_path: Path) -> None:
    app = make(tmp_path)

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": "300000000"}
    for path, source in (("/api/predict", "api"), ("/api/timeline/", "timeline")):
        answer = ask(app, "POST", path, content=unread(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        counted = f'emotion2vec_requests_total{{outcome="too_large",source="{source}"}} 1.0'
        assert counted in ask(app, "GET", "/metrics").text


def test_a_client_that_hangs_up_during_its_upload_is_gone(tmp_path: Path) -> None:
    app = make(tmp_path)
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
    coming: list[dict[str, object]] = [
        {"type": "http.request", "body": head, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return coming.pop(0)

    async def send(message: object) -> None:
        pass

    scope = {
        "type": "http", "method": "POST", "path": "/api/predict/", "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    counted = 'emotion2vec_requests_total{outcome="gone",source="api"} 1.0'
    assert counted in ask(app, "GET", "/metrics").text


def test_every_answer_carries_the_security_headers(app: FastAPI) -> None:
    for path in ("/health", "/en/", "/nothing"):
        headers = ask(app, "GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_the_committed_description_is_what_the_app_says(app: FastAPI) -> None:
    committed = json.loads((ROOT / "gateway" / "openapi.json").read_text(encoding="utf-8"))
    assert committed == app.openapi(), "run `make openapi`"


def test_the_committed_description_of_streams_is_what_the_code_says() -> None:
    committed = json.loads((ROOT / "gateway" / "asyncapi.json").read_text(encoding="utf-8"))
    assert committed == asyncapi(), "run `make openapi`"


def test_the_documented_settings_are_all_there_are() -> None:
    rows = re.findall(r"^\| `(E2V_\w+)` \| ([^|]*) \|", DOCS.read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == [f"E2V_{name.upper()}" for name in Settings.model_fields]
    for name, shown in rows:
        default = Settings.model_fields[name.removeprefix("E2V_").lower()].default
        assert shown.strip().strip("`") == ("" if default in (None, ()) else str(default)), name


def test_limits_and_reasons_agree_with_those_of_preprocess() -> None:
    text = (ROOT / "model_repository" / "preprocess" / "config.pbtxt").read_text("utf-8")
    parameters = text_format.Parse(text, ModelConfig()).parameters
    assert Settings().max_upload_bytes == int(parameters["max_bytes"].string_value)
    # On the page and in gateway/routes/predict.py.
    assert parameters["max_seconds"].string_value == "30"
    assert (
        tuple(float(parameters[name].string_value) for name in ("min_seconds", "max_seconds"))
        == CLIP_SECONDS
    )
    assert REASONS == errors.REASONS
    assert set(STATUS_OF_REASON) <= set(REASONS)
    # Each reason must have a Chinese sentence.
    assert set(REASONS) - {"bad_request"} <= set(CHINESE.problems)


def test_limits_agree_with_those_of_the_timeline() -> None:
    text = (ROOT / "model_repository/emotion2vec_timeline/config.pbtxt").read_text("utf-8")
    parameters = text_format.Parse(text, ModelConfig()).parameters
    assert Settings().max_recording_bytes == int(parameters["max_bytes"].string_value)
    assert int(parameters["max_seconds"].string_value) == RECORDING_HOURS * 3600
    assert int(parameters["max_seconds"].string_value) == RECORDING_SECONDS


def test_what_is_not_a_form_is_told_how_to_send_a_file(app: FastAPI) -> None:
    # curl --data-binary sends any bytes with this content type.
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for path in ("/api/predict/", "/api/timeline/"):
        for sent in ({"content": b"&=" * 5000, "headers": headers}, {"json": {"audio": "a.wav"}}):
            answer = ask(app, "POST", path, **sent)
            assert (answer.status_code, answer.json()["code"]) == (400, "missing_file")
            assert "curl -F audio=@happy.wav" in answer.json()["detail"]


def test_an_option_of_the_other_segmentation_is_refused_before_the_job(app: FastAPI) -> None:
    for name, segmentation, other in (
        ("min_segment", "fixed", "vad"),
        ("max_segment", "fixed", "vad"),
        ("window", "vad", "fixed"),
        ("hop", "vad", "fixed"),
    ):
        # The default segmentation is at pauses.
        said = {"segmentation": segmentation} if segmentation == "fixed" else {}
        form = {"files": {"audio": b"RIFF"}, "data": {name: "2", **said}}
        answer = ask(app, "POST", "/api/timeline/", **form)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_option")
        assert f"{name} is an option of segmentation={other!r}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/api/predict/", "POST"),
        ("PUT", "/api/timeline", "POST"),
        ("POST", "/api/timeline/job", "DELETE, GET"),
        ("POST", "/health", "GET"),
    ],
)
def test_a_wrong_method_is_answered_with_the_right_one(
    app: FastAPI, method: str, path: str, right: str
) -> None:
    answer = ask(app, method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "wrong_method")
    assert answer.json()["detail"] == f"{path} does not take {method}: use {right}"
    assert answer.headers["allow"] == right


def test_sentences_are_not_ended_twice(app: FastAPI) -> None:
    many = "".join(
        f'--b\r\nContent-Disposition: form-data; name="f{number}"\r\n\r\n\r\n'
        for number in range(1100)
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = ask(app, "POST", "/api/predict/", content=f"{many}--b--\r\n", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert ".;" not in answer.json()["detail"]


def test_a_fault_of_the_gateway_is_a_problem_as_well(tmp_path: Path) -> None:
    app = make(tmp_path)

    @app.get("/fault")
    def fault() -> None:
        raise ZeroDivisionError

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get("/fault")

    answer = asyncio.run(call())
    assert (answer.status_code, answer.json()["code"]) == (500, "failed")


def test_every_error_is_in_the_documented_table() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (`[^|]*) \|", DOCS.read_text("utf-8"), re.MULTILINE)
    documented = {(int(status), code) for status, codes in rows for code in codes.split("`")[1::2]}
    raised = set()
    for path in (ROOT / "gateway").glob("*.py"):
        found = re.findall(r'Problem\(\s*(\d{3}),\s*"(\w+)"', path.read_text("utf-8"))
        raised |= {(int(status), code) for status, code in found}
    assert {(405, "wrong_method"), (500, "failed")} <= raised
    assert raised <= documented


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str
) -> str:
    """The output of a gateway that fails to start with these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["gateway"])
    assert main() == 1
    return capsys.readouterr().err


def test_a_setting_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, E2V_PORT="many", E2V_KEEP_HOURS="-1")
    assert "E2V_PORT is 'many': give a whole number" in said
    assert "E2V_KEEP_HOURS is '-1': give more than 0" in said


@pytest.fixture
def taken_port() -> Iterator[int]:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    taken_port: int,
    tmp_path: Path,
) -> None:
    own = {"E2V_PORT": str(taken_port), "E2V_OUTPUTS": str(tmp_path)}
    said = refused(monkeypatch, capsys, **own)
    assert f"cannot listen on 127.0.0.1:{taken_port}" in said
    assert "E2V_PORT" in said
