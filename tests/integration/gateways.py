"""Gateways as processes, for the tests."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import soundfile

from benchmarks.launch import HOST, Program, free_ports, wait_until
from server.triton import Triton


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """A WAV file of samples, [N]."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


def computed(triton: Triton, model: str = "encoder") -> int:
    """Clips that a model has computed so far."""
    url = f"{triton.settings.http_url}/v2/models/{model}/stats"
    return int(httpx.get(url).json()["model_stats"][0]["inference_count"])


def pending(triton: Triton, model: str) -> int:
    """Requests that wait before a model."""
    url = f"http://{HOST}:{triton.settings.metrics_port}/metrics"
    name = f'nv_inference_pending_request_count{{model="{model}",version="1"}}'
    [line] = [line for line in httpx.get(url).text.splitlines() if line.startswith(name)]
    return int(line.removeprefix(name))


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

    def post(self, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
        """Posts several files in one form."""
        form = [("audio", file) for file in files]
        return self.http.post("/api/predict/", files=form, data=fields)

    def timeline(self, file: Path | bytes, **fields: str) -> httpx.Response:
        """Posts a recording; the answer has the job of its timeline."""
        data = file if isinstance(file, bytes) else file.read_bytes()
        name = "clip" if isinstance(file, bytes) else file.name
        return self.http.post("/api/timeline/", files={"audio": (name, data)}, data=fields)

    def finished(self, job: dict[str, Any]) -> dict[str, Any]:
        """Asks until a job is over; what it says of its progress never falls."""
        answers = [job]

        def is_over() -> bool:
            answers.append(self.http.get(job["url"]).json())
            return answers[-1]["status"] != "running"

        wait_until(is_over, f"the job {job['id']} was over")
        shares = [answer["progress"] for answer in answers]
        assert shares == sorted(shares)
        assert shares[0] >= 0
        assert shares[-1] <= 1
        return answers[-1]

    def counts(self, kind: str) -> Counter[str]:
        """Requests by outcome, once none is in flight; ``kind`` is a source, such as ``api``."""
        wait_until(lambda: self.in_flight() == 0, "earlier requests are over")
        pattern = rf'requests_total{{outcome="(\w+)",source="{kind}"}} ([\d.e+]+)'
        return Counter({code: int(float(n)) for code, n in re.findall(pattern, self.metrics())})

    def metric(self, name: str) -> float:
        """The value of a metric, by its name and labels; 0 where there is none."""
        found = re.search(rf"^{re.escape(name)} ([\d.e+]+)$", self.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0

    def in_flight(self) -> float:
        """Requests that have no answer yet."""
        return self.metric("emotion2vec_requests_in_flight")

    def metrics(self) -> str:
        """What Prometheus is told."""
        # On a connection of its own: this may be asked from several threads.
        return httpx.get(f"{self.url}/metrics", headers=self.http.headers, timeout=120).text

    def resident_megabytes(self) -> float:
        """Memory of its process."""
        return psutil.Process(self.pid).memory_info().rss / 2**20
