"""OpenTelemetry's variables, and a service for which none is set."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.app import create_app
from gateway.check import SettingsError, read_settings
from gateway.metrics import Observed
from gateway.settings import Settings
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


SEVERAL = "10.0.0.1:8001,10.0.0.2:8001"


@pytest.mark.parametrize("url", ["localhost:8001", SEVERAL, "http://localhost", "[::1]:8001"])
@pytest.mark.parametrize("collector", ["", "http://127.0.0.1:4318"])
def test_a_gateway_starts_with_every_form_of_address(
    url: str, collector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BASE, collector)
    create_app(Settings(triton_url=url, outputs=tmp_path))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("speech.example.org:9001", {"server.address": "speech.example.org", "server.port": 9001}),
        ("speech.example.org", {"server.address": "speech.example.org", "server.port": 8001}),
        ("http://[::1]", {"server.address": "::1", "server.port": 8000}),
        # Which one answers is not known.
        (SEVERAL, {}),
    ],
)
def test_a_call_says_which_server_it_asks_if_there_is_one(
    url: str, server: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setenv(BASE, "http://127.0.0.1:4318")
    monkeypatch.setattr("gateway.tracing._provider", lambda _: provider)
    tracing = Tracing(url)
    request = provider.get_tracer("a request").start_as_current_span("a request")
    with request, tracing.call("encoder"):
        pass
    call = memory.get_finished_spans()[0]
    assert call.attributes == {"emotion2vec.model": "encoder", **server}
