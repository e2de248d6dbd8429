"""Answers as JSON; arrays of numbers as they are, which FastAPI would take apart one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response


def encoded(content: dict[str, Any]) -> bytes:
    """JSON of plain types, NumPy arrays and `orjson.Fragment`."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def response_with(
    content: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The JSON answer for a result."""
    return Response(encoded(content), status, headers, media_type="application/json")
