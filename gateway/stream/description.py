"""The AsyncAPI description of streams: gateway/asyncapi.json, which `make openapi` writes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from gateway.stream.messages import (
    Append,
    Close,
    Closed,
    Created,
    Ended,
    Error,
    Measurement,
    Started,
    Update,
    Updated,
)

RECEIVED = (Update, Append, Close)
SENT = (Created, Updated, Started, Ended, Measurement, Error, Closed)
ADDRESS = "/api/stream/"
AUDIO = {
    "name": "audio",
    "title": "Audio",
    "summary": "A binary message: samples in the session's encoding, cut anywhere, up to 1 MiB.",
    "contentType": "application/octet-stream",
    "payload": {"type": "string", "format": "binary"},
}


def asyncapi() -> dict[str, Any]:
    """The description, in AsyncAPI 3.1."""
    schemas: dict[str, Any] = {}
    messages: dict[str, Any] = {"audio": AUDIO}
    for kind in RECEIVED + SENT:
        schema = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[kind.__name__] = schema
        name = schema["properties"]["type"]["const"]
        messages[name] = {
            "name": name,
            "title": kind.__name__,
            "summary": schema.pop("description"),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        }
    names = {
        kind: [_pointer(schemas[each.__name__]["properties"]["type"]["const"]) for each in kinds]
        for kind, kinds in (("receive", RECEIVED), ("send", SENT))
    }
    names["receive"].insert(0, _pointer("audio"))
    channel = {"$ref": "#/channels/stream"}
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "emotion2vec-triton: streams",
            "version": version("emotion2vec-client"),
            "description": "Emotion while someone speaks; docs/stream.md.",
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": {"host": "localhost:7860", "protocol": "ws"}},
        "channels": {
            "stream": {
                "address": ADDRESS,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            action: {"action": action, "channel": channel, "messages": messages_}
            for action, messages_ in names.items()
        },
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _pointer(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/stream/messages/{name}"}
