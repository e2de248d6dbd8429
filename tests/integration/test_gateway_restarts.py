"""What the supervisor has started again is in the gateway's metrics, also after its own end."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from benchmarks.launch import wait_until
from benchmarks.service import Service
from tests.scenarios.faults import FAULTS


def metrics(service: Service) -> str:
    return httpx.get(f"{service.rest_url}/metrics").text


def restarts(service: Service) -> dict[str, int]:
    pattern = r'^emotion2vec_restarts_total\{part="(\w+)"\} (\d+)'
    found = re.findall(pattern, metrics(service), re.MULTILINE)
    return {part: int(count) for part, count in found}


def test_restarts_are_counted_by_part(tiny_repository: Path, tmp_path: Path) -> None:
    with Service(tiny_repository, outputs=tmp_path / "outputs") as service:
        service.wait_until_ready()
        assert restarts(service) == {"triton": 0, "gateway": 0}
        assert "emotion2vec_model_info{" in metrics(service)
        for fault, counted in (
            ("tritonserver killed", {"triton": 1, "gateway": 0}),
            ("gateway killed", {"triton": 1, "gateway": 1}),
        ):
            FAULTS[fault].strike(service)
            service.wait_for(FAULTS[fault].back)
            # It takes a moment until a new gateway listens.
            wait_until(lambda: answers(service), "the gateway answers")
            assert restarts(service) == counted
        assert "emotion2vec_model_info{" in metrics(service)


def answers(service: Service) -> bool:
    try:
        return httpx.get(f"{service.rest_url}/ready").status_code == 200
    except httpx.TransportError:
        return False
