"""Log lines of the server and the gateway, on stderr: time, level, component and message."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime

FORMATS = ("text", "json")
"""Values of E2V_LOG_FORMAT."""

COMPONENTS = ("server", "gateway", "triton")
"""Components that log from level INFO; libraries log from WARNING."""


class Formatter(logging.Formatter):
    """One line per record.

    Args:
        as_json: Whether a line is a JSON object. As text, a line has the same fields in the same
            order, and those of the attribute ``fields`` at its end.
    """

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback below it or in it."""
        local = datetime.fromtimestamp(record.created).astimezone()
        time = local.isoformat(timespec="milliseconds")
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        fields: dict[str, object] = getattr(record, "fields", {})
        component = record.name.partition(".")[0]
        if self._as_json:
            head = {"time": time, "level": record.levelname.lower(), "component": component}
            return json.dumps({**head, "message": message, **fields}, ensure_ascii=False)
        end = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{time} {record.levelname:7} {component}: {message}{end}"


def configure(kind: str, keep: Callable[[logging.LogRecord], bool] = lambda record: True) -> None:
    """Sends log records to stderr.

    Args:
        kind: One of `FORMATS`.
        keep: Returns whether to log a record.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(kind == "json"))
    handler.addFilter(keep)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for component in COMPONENTS:
        logging.getLogger(component).setLevel(logging.INFO)
