"""Gateways as processes, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.conftest import ROOT, free_ports

START_SECONDS = 90


class Gateway:
    """``python -m gateway`` in front of a Triton, for the length of a ``with`` block."""

    def __init__(self, triton_url: str, outputs: Path, **settings: str):
        self.outputs = outputs
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env={
                **os.environ,
                "E2V_PORT": str(self.port),
                "E2V_TRITON_URL": triton_url,
                "E2V_OUTPUTS": str(outputs),
                **settings,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Gateway:
        assert self.process.stdout
        said = ""
        for line in self.process.stdout:
            said += line
            # It listens, and Triton is ready.
            if "in a browser" in line:
                break
        else:
            self.process.wait()
            raise AssertionError(f"the gateway ended: {said}")
        self.http = httpx.Client(base_url=self.url, timeout=120)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.terminate()
        self.process.communicate(timeout=30)

    def predict(self, file: Path | bytes, **fields: str) -> httpx.Response:
        """Posts a file."""
        data = file if isinstance(file, bytes) else file.read_bytes()
        name = "clip" if isinstance(file, bytes) else file.name
        return self.http.post("/api/predict/", files={"audio": (name, data)}, data=fields)

    def resident_megabytes(self) -> float:
        """Memory of its process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")
