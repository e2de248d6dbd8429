"""Gateways as processes, for the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import psutil

from benchmarks.launch import HOST, Program, free_ports


class Gateway(Program):
    """``python -m gateway`` in front of a Triton, for the length of a ``with`` block.

    Args:
        triton_url: Where Triton is.
        outputs: Where its results go.
        program: Python that runs in the place of ``-m gateway``.
        settings: ``E2V_`` and other variables.
    """

    def __init__(
        self, triton_url: str, outputs: Path, *, program: str | None = None, **settings: str
    ) -> None:
        self.outputs = outputs
        self.port = free_ports(1)[0]
        self.url = f"http://{HOST}:{self.port}"
        own = {
            "E2V_PORT": str(self.port),
            "E2V_TRITON_URL": triton_url,
            "E2V_OUTPUTS": str(outputs),
        }
        run = ["-m", "gateway"] if program is None else ["-c", program]
        super().__init__([sys.executable, *run], environment=own | settings)
        self.http = httpx.Client(base_url=self.url, timeout=120)

    def __enter__(self) -> Gateway:
        self.start()
        try:
            # It listens, and Triton is ready.
            self.wait_for("in a browser")
        except BaseException:
            self.end()
            raise
        return self

    def end(self, *signals: object) -> int:
        """Ends it; returns the exit code."""
        self.http.close()
        return super().end()

    def predict(self, file: Path | bytes, **fields: str) -> httpx.Response:
        """Posts a file."""
        data = file if isinstance(file, bytes) else file.read_bytes()
        name = "clip" if isinstance(file, bytes) else file.name
        return self.http.post("/api/predict/", files={"audio": (name, data)}, data=fields)

    def resident_megabytes(self) -> float:
        """Memory of its process."""
        return psutil.Process(self.pid).memory_info().rss / 2**20
