"""Lines of the log, as text and as JSON."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime

import pytest

from server.log import Formatter
from tests.conftest import ROOT


def record(message: str, *values: object, error: bool = False, **more: object) -> logging.LogRecord:
    made = logging.LogRecord(
        "gateway.metrics", logging.ERROR, "", 0, message, values, sys.exc_info() if error else None
    )
    vars(made).update(more)
    return made


def test_a_line_of_text_says_when_how_serious_which_part_and_what() -> None:
    line = Formatter(as_json=False).format(record("%d files", 3, fields={"id": "a1", "seconds": 2}))
    time, rest = line.split(" ", 1)
    assert datetime.fromisoformat(time).tzinfo is not None
    assert rest == "ERROR   gateway: 3 files id=a1 seconds=2"


def test_a_line_of_json_is_one_object_also_with_a_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        line = Formatter(as_json=True).format(record("failed", error=True, fields={"id": "a1"}))
    assert "\n" not in line
    found = json.loads(line)
    assert {"level": "error", "component": "gateway", "id": "a1"}.items() <= found.items()
    assert re.search(r"^failed\nTraceback .*ValueError: broken$", found["message"], re.DOTALL)


@pytest.mark.parametrize("kind", ["xml", ""])
def test_a_form_that_is_not_known_ends_the_start(kind: str) -> None:
    # In a process of its own: the server handles signals from the start.
    done = subprocess.run(
        [sys.executable, "-m", "server"], cwd=ROOT, env={**os.environ, "E2V_LOG_FORMAT": kind},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"server: E2V_LOG_FORMAT is {kind!r}: give text or json\n"
