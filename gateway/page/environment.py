"""What Gradio reads from the environment when it is imported: so this comes first."""

from __future__ import annotations

import atexit
import os
import tempfile

UPLOADS = tempfile.TemporaryDirectory(prefix=f"emotion2vec-{os.getpid()}-")
"""What the page is given, until the gateway ends. By this name a server that starts finds what one
that was killed has left. Gradio's own is one folder for all users of a machine, in which nobody but
the first can write."""

atexit.register(UPLOADS.cleanup)
os.environ["GRADIO_TEMP_DIR"] = UPLOADS.name
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
