"""Where spans go: OpenTelemetry's standard variables, read by Triton's launcher and the gateway."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from server.errors import ServerError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
DISABLED = "OTEL_SDK_DISABLED"

ONLY_PROTOCOL = "http/protobuf"


class TracingError(ServerError):
    """A variable has a value that cannot be used; the message is a sentence."""


def traces_url(environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL of a collector's traces over OTLP/HTTP; None if nothing shall be traced.

    Raises:
        TracingError: The address is none, or the protocol is one that Triton does not speak.
    """
    own, base = environment.get(TRACES_ENDPOINT), environment.get(ENDPOINT)
    if not (own or base) or environment.get(DISABLED, "").lower() == "true":
        return None
    name, value = (TRACES_ENDPOINT, own) if own else (ENDPOINT, base or "")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TracingError(f"{name} is {value!r}: give a URL such as http://collector:4318")
    for variable in PROTOCOLS:
        protocol = environment.get(variable) or ONLY_PROTOCOL
        if protocol != ONLY_PROTOCOL:
            raise TracingError(
                f"{variable} is {protocol!r}: Triton only speaks {ONLY_PROTOCOL}, so give that, "
                "and the collector's address for it (usually port 4318)"
            )
    return own or f"{value.rstrip('/')}/v1/traces"


def triton_arguments(url: str | None) -> list[str]:
    """Arguments of tritonserver that make it trace the requests whose caller traces them.

    Args:
        url: From `traces_url`.
    """
    if url is None:
        return []
    return [
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={url}",
        "--trace-config=opentelemetry,resource=service.name=emotion2vec-triton",
        # Times only: with TENSORS, the spans would have the audio.
        "--trace-config=level=TIMESTAMPS",
        # None by itself: the caller decides which requests are traced, and says so in the header
        # traceparent.
        "--trace-config=rate=0",
    ]
