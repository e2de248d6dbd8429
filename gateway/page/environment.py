"""What Gradio reads when it is imported: so this comes first, and imports it."""

from __future__ import annotations

import atexit
import inspect
import os
import tempfile

UPLOADS = tempfile.TemporaryDirectory(prefix=f"emotion2vec-{os.getpid()}-")
"""What the page is given, until the gateway ends. By this name a server that starts finds what one
that was killed has left. Gradio's own is one folder for all users of a machine, in which nobody but
the first can write."""

atexit.register(UPLOADS.cleanup)
os.environ["GRADIO_TEMP_DIR"] = UPLOADS.name
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def _is_no_file(component: object) -> str:
    raise OSError(f"{component} counts as none from a file")


# Gradio compares each component's source with a stub for editors, which takes half of the seconds
# of its import, and writes into its own package. A component that is from no file has no stub.
_getfile, inspect.getfile = inspect.getfile, _is_no_file  # type: ignore[assignment]
try:
    import gradio  # noqa: F401
finally:
    inspect.getfile = _getfile
