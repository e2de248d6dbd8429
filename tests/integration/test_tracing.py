"""Traces of real requests, as a collector gets them from the gateway and from Triton."""

from __future__ import annotations

import gzip
import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.launch import HOST, PATIENCE, SAMPLES, wait_until
from benchmarks.service import Service
from emotion2vec_client import Client

KEY = "a-key-that-stays-out-of-traces"
FILE = "a-name-that-stays-out-of-traces.wav"
SENT_EVERY_MS = "100"
GATEWAY, TRITON = "emotion2vec-gateway", "emotion2vec-triton"


@dataclass(frozen=True)
class Span:
    """A span, from either encoding of OTLP."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]


class Collector:
    """An OTLP/HTTP endpoint that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.received = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.received += body
                is_json = self.headers["Content-Type"] == "application/json"
                collector.spans += _from_json(body) if is_json else _from_protobuf(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *what: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def trace(self, trace: str) -> list[Span]:
        """The spans of a trace that have come so far."""
        return [span for span in list(self.spans) if span.trace == trace]

    def has(self, trace: str, calls: int) -> bool:
        """Whether a request's own span, which ends last, has come, and Triton's of its calls."""
        names = Counter(span.name.partition(" ")[0] for span in self.trace(trace))
        return names["InferRequest"] == calls and names["POST"] == 1


def _from_protobuf(body: bytes) -> list[Span]:
    spans = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        own = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {
                    each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
                    for each in span.attributes
                }
                trace, own_id, parent = span.trace_id, span.span_id, span.parent_span_id
                ids = (trace.hex(), own_id.hex(), parent.hex())
                spans.append(Span(own["service.name"], span.name, *ids, attributes))
    return spans


def _from_json(body: bytes) -> list[Span]:
    spans = []
    for resource in json.loads(body)["resourceSpans"]:
        own = {each["key"]: each["value"] for each in resource["resource"]["attributes"]}
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                attributes = {
                    each["key"]: next(iter(each["value"].values()))
                    for each in span.get("attributes", [])
                }
                ids = (span["traceId"], span["spanId"], span.get("parentSpanId", ""))
                service = own["service.name"]["stringValue"]
                spans.append(Span(service, span["name"], *ids, attributes))
    return spans


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


@pytest.fixture(scope="module")
def service(
    collector: Collector, tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        # Both the gateway's library and Triton's read this.
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", SENT_EVERY_MS)
        service = Service(
            tiny_repository, outputs=tmp_path_factory.mktemp("traced") / "outputs", api_keys=KEY
        )
    with service:
        service.wait_until_ready()
        yield service


def caller(sampled: bool = True) -> tuple[str, str, str]:
    """A caller's trace, its span, and the header that says so."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-0{int(sampled)}"


def post(service: Service, path: str, header: str, data: bytes, **form: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}", "traceparent": header}
    return httpx.post(
        f"{service.rest_url}{path}",
        files={"audio": (FILE, data)},
        data=form,
        headers=headers,
        timeout=PATIENCE,
    )


@dataclass(frozen=True)
class Traced:
    """A request whose trace is complete: its answer, its own span, and all spans."""

    answer: httpx.Response
    request: Span
    spans: list[Span]


def traced(
    service: Service, collector: Collector, path: str, data: bytes, calls: int, **form: object
) -> Traced:
    """Sends a request until a trace is complete: Triton 2.51 loses the spans of some calls."""
    sent: dict[str, tuple[str, httpx.Response]] = {}

    def one_is_complete() -> bool:
        trace, span, header = caller()
        sent[trace] = span, post(service, path, header, data, **form)
        return any(collector.has(trace, calls) for trace in sent)

    wait_until(one_is_complete, "a trace is complete")
    trace = next(trace for trace in sent if collector.has(trace, calls))
    span, answer = sent[trace]
    spans = collector.trace(trace)
    [request] = [each for each in spans if each.parent == span]
    return Traced(answer, request, spans)


def children(spans: list[Span], parent: Span) -> list[Span]:
    return sorted((s for s in spans if s.parent == parent.id), key=lambda span: span.name)


def test_a_request_is_one_trace_from_its_caller_to_the_models(
    service: Service, collector: Collector
) -> None:
    data = (SAMPLES / "happy.wav").read_bytes()
    found = traced(service, collector, "/api/predict/", data, calls=2)
    answer, request, spans = found.answer, found.request, found.spans
    assert answer.status_code == 200
    assert (request.service, request.name) == (GATEWAY, "POST /api/predict/")
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["http.route"] == "/api/predict/"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["emotion2vec.outcome"] == "ok"
    assert request.attributes["emotion2vec.audio_seconds"] == answer.json()["duration"]
    assert request.attributes["emotion2vec.request_id"] == answer.headers["X-Request-ID"]
    calls = children(spans, request)
    assert [call.name for call in calls] == ["infer encoder", "infer preprocess"]
    port = int(service.grpc_url.rpartition(":")[2])
    for call, model in zip(calls, ("encoder", "preprocess"), strict=True):
        assert (call.service, call.attributes["server.port"]) == (GATEWAY, port)
        [received] = children(spans, call)
        assert (received.service, received.name) == (TRITON, "InferRequest")
        [run] = children(spans, received)
        assert (run.name, run.attributes["triton.model_name"]) == (model, model)
        assert [each.name for each in children(spans, run)] == ["compute"]


def test_a_refused_file_is_told_from_its_request_to_the_model_that_refused_it(
    service: Service, collector: Collector
) -> None:
    found = traced(service, collector, "/api/predict/", b"no audio", calls=1)
    assert found.answer.status_code == 415
    assert found.request.attributes["emotion2vec.outcome"] == "not_audio"
    [call] = children(found.spans, found.request)
    assert call.name == "infer preprocess"
    assert call.attributes["error.type"] == "InvalidAudioError"


def test_a_timeline_joins_the_trace_of_its_request(service: Service, collector: Collector) -> None:
    data = (SAMPLES / "story.ogg").read_bytes()
    # One call, although the gateway also asks for the progress.
    found = traced(service, collector, "/api/timeline/", data, calls=1, wait=60)
    [call] = children(found.spans, found.request)
    assert call.name == "infer emotion2vec_timeline"
    [received] = children(found.spans, call)
    assert received.service == TRITON


def test_only_what_the_caller_samples_and_asks_is_traced(
    service: Service, collector: Collector
) -> None:
    data = (SAMPLES / "short.wav").read_bytes()
    silent, _, header = caller(sampled=False)
    assert post(service, "/api/predict/", header, data).status_code == 200
    with Client(service.grpc_url) as client:
        client.predict(data)
    for path in ("/health", "/ready", "/metrics"):
        httpx.get(service.rest_url + path, headers={"X-API-Key": KEY, "traceparent": header})
    # Spans are sent in their order, so that those of the earlier requests would come first.
    traced(service, collector, "/api/predict/", data, calls=2)
    assert collector.trace(silent) == []
    names = {span.name for span in collector.spans if span.service == GATEWAY}
    assert names <= {
        "POST /api/predict/",
        "POST /api/timeline/",
        "infer preprocess",
        "infer encoder",
        "infer emotion2vec_timeline",
    }
    models = {span.attributes.get("triton.model_name") for span in collector.spans}
    # The ensemble is what the client asked for without a trace.
    assert "emotion2vec" not in models


def test_no_name_key_or_audio_is_in_any_span(service: Service, collector: Collector) -> None:
    data = (SAMPLES / "happy.wav").read_bytes()
    traced(service, collector, "/api/predict/", data, calls=2)
    for secret in (KEY, Path(FILE).stem):
        assert secret.encode() not in collector.received
    # A request's spans are a few times; a second of audio would be 64 kB.
    assert len(collector.received) < 10_000 * len({span.trace for span in collector.spans})


def test_a_collector_that_is_away_disturbs_no_request(
    tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Collector()
    gone.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    with Service(tiny_repository, outputs=tmp_path / "outputs", api_keys=KEY) as service:
        service.wait_until_ready()
        data = (SAMPLES / "happy.wav").read_bytes()
        assert post(service, "/api/predict/", caller()[2], data).status_code == 200
        assert service.end() == 0
