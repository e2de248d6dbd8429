"""Traces for OpenTelemetry: a span for each request to the API, and one for each call to Triton."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from emotion2vec_client._endpoint import parse
from gateway.metrics import Observed
from server.tracing import traces_url

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE = "emotion2vec-gateway"
"""The service's name in the traces, unless OTEL_SERVICE_NAME gives another."""


class Tracing:
    """Sends spans to the collector that the standard variables name; without one, does nothing.

    Args:
        triton: Triton's address, or several.

    Raises:
        TracingError: A variable has a bad value.
    """

    def __init__(self, triton: str) -> None:
        url = traces_url()
        self._provider = None if url is None else _provider(url)
        self._triton = {} if url is None else _server(triton)

    @property
    def fastapi(self) -> TelemetryConfig:
        """The configuration of FastAPI, which makes the spans of the requests."""
        return {
            "tracer_provider": self._provider,
            "tracing": self._provider is not None,
            "metrics": False,
            # They would have the messages of errors, and the others each function of ours.
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": _excluded,
        }

    @contextmanager
    def call(self, model: str) -> Iterator[Mapping[str, str]]:
        """A span as long as a call to Triton; gives the header that makes Triton's spans join it.

        Args:
            model: The model that is called.
        """
        # Only as part of a request: otherwise each segment of a stream would be a trace.
        if self._provider is None or not trace.get_current_span().get_span_context().is_valid:
            yield {}
            return
        with self._provider.get_tracer(SERVICE).start_as_current_span(
            f"infer {model}",
            kind=SpanKind.CLIENT,
            attributes={"emotion2vec.model": model, **self._triton},
            # The message of an exception does not belong into a trace.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            headers: dict[str, str] = {}
            # Triton traces whatever has this header, sampled or not.
            if span.is_recording():
                TraceContextTextMapPropagator().inject(headers)
            try:
                yield headers
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def describe(observed: Observed) -> None:
    """Adds to the request's span what the log and the metrics say about it."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes(
            {
                "emotion2vec.request_id": observed.id,
                "emotion2vec.outcome": observed.summary,
                "emotion2vec.audio_seconds": observed.seconds,
            }
        )


def _excluded(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request is none to recognise something.

    The addresses of jobs and results must not be known to others, and health checks are many.
    """
    is_call = scope["type"] == "http" and scope["method"] == "POST"
    return not (is_call and scope["path"].startswith("/api/"))


def _server(triton: str) -> dict[str, str | int]:
    """The attributes of Triton's address; none for a list, as gRPC chooses the server by itself."""
    endpoint = parse(triton)
    if endpoint.others:
        return {}
    return {"server.address": endpoint.host, "server.port": endpoint.port}


def _provider(url: str) -> TracerProvider:
    # Half a second and ten megabytes that only a traced gateway needs.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or SERVICE})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
    return provider
