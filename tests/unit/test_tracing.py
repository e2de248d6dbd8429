"""The variables of OpenTelemetry, and a service that nobody traces."""

from __future__ import annotations

import re
import sys

import pytest

from gateway.check import SettingsError, read_settings
from gateway.metrics import Observed
from gateway.tracing import Tracing, describe
from server.tracing import TracingError, traces_url, triton_arguments

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, None),
        ({BASE: ""}, None),
        ({BASE: "http://a:4318"}, "http://a:4318/v1/traces"),
        ({BASE: "https://a/otlp/"}, "https://a/otlp/v1/traces"),
        ({BASE: "http://a:4318", TRACES: "http://b/own"}, "http://b/own"),
        ({BASE: "http://a:4318", "OTEL_SDK_DISABLED": "true"}, None),
        (
            {BASE: "http://a:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http://a:4318/v1/traces",
        ),
    ],
)
def test_the_standard_variables_say_where_spans_go(
    environment: dict[str, str], url: str | None
) -> None:
    assert traces_url(environment) == url


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({BASE: "collector:4318"}, f"{BASE} is 'collector:4318': give a URL such as"),
        ({TRACES: "http://"}, f"{TRACES} is 'http://': give a URL such as"),
        (
            {BASE: "http://a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc': Triton only speaks http/protobuf",
        ),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(
    environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TracingError, match=re.escape(sentence)):
        traces_url(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(sentence)):
        read_settings()


def test_triton_traces_only_on_request_and_never_the_audio() -> None:
    assert triton_arguments(None) == []
    arguments = triton_arguments("http://a/v1/traces")
    assert "--trace-config=opentelemetry,url=http://a/v1/traces" in arguments
    assert "--trace-config=rate=0" in arguments
    assert "--trace-config=level=TIMESTAMPS" in arguments


def test_without_a_collector_nothing_is_loaded_and_no_header_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (BASE, TRACES):
        monkeypatch.delenv(name, raising=False)
    # To import one of these is now an error.
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    # FastAPI's own variable would make it export by itself.
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    tracing = Tracing("localhost:8001")
    config = tracing.fastapi
    assert not (config["tracing"] or config["metrics"] or config["logs"])
    assert not config["auto_configure"]
    with tracing.call("encoder") as headers:
        assert headers == {}
    describe(Observed())
    tracing.close()
