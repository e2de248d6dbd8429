"""Settings of libraries, which read them from the environment when they are imported.

What a user has set stays.
"""

from __future__ import annotations

import os

SETTINGS = {
    # ONNX Runtime's wheel reports its use to its makers otherwise.
    "ORT_DISABLE_TELEMETRY": "1",
    # Only plain HTTP is tested here, with its time limits; Xet's client has a cache of its own.
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # A hub that is not there is asked twice, and not four times with longer and longer pauses.
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
    # Seconds without a byte, after which a download is tried again, and seconds that it may take.
    "MODELSCOPE_DOWNLOAD_TIMEOUT": "15",
    "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": "86400",
    "MODELSCOPE_DOWNLOAD_RETRY_MAX_DELAY_SECONDS": "8",
    # Otherwise each download first asks in which data centre of Alibaba's it runs.
    "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",
}


def prepare() -> None:
    """Sets what the user has not set."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
