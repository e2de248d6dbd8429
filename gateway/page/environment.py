"""Sets Gradio's environment, which Gradio reads on import, and then imports Gradio."""

from __future__ import annotations

import atexit
import inspect
import os
import tempfile

UPLOADS = tempfile.TemporaryDirectory(prefix=f"emotion2vec-{os.getpid()}-")
"""Uploads of the page, until the gateway ends. The prefix lets a later server remove the folder if
this one is killed. Gradio's default is one folder for all users of a machine, in which only the
first of them can write."""

atexit.register(UPLOADS.cleanup)
os.environ["GRADIO_TEMP_DIR"] = UPLOADS.name
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def _is_no_file(component: object) -> str:
    raise OSError(f"{component} is treated as not coming from a file")


# Gradio compares the source of each component with a type stub, which takes half of its import
# time, and writes into its own package. It skips components that do not come from a file.
_getfile, inspect.getfile = inspect.getfile, _is_no_file  # type: ignore[assignment]
try:
    import gradio  # noqa: F401
finally:
    inspect.getfile = _getfile
