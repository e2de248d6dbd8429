"""Sets environment variables that libraries read when they are imported.

It keeps what a user has set.
"""

from __future__ import annotations

import os

SETTINGS = {
    # Otherwise ONNX Runtime's wheel sends telemetry to Microsoft.
    "ORT_DISABLE_TELEMETRY": "1",
    # Only plain HTTP, with its timeouts, is tested here; Xet's client has its own cache.
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Try an unreachable hub twice, not four times with longer and longer pauses.
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
    # Seconds without a byte before a retry, and seconds that a whole download may take.
    "MODELSCOPE_DOWNLOAD_TIMEOUT": "15",
    "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": "86400",
    "MODELSCOPE_DOWNLOAD_RETRY_MAX_DELAY_SECONDS": "8",
    # Otherwise each download first asks in which Alibaba data centre it runs.
    "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",
}


def prepare() -> None:
    """Sets what the user has not set."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
