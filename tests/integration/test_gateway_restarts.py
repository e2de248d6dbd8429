"""What the supervisor has started again is in the gateway's metrics, also after its own end."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx

from tests.conftest import free_ports
from tests.integration.test_process import Server, children, command_line, tritonserver_of, wait_for

BACK_SECONDS = 60


def gateway_of(server: Server) -> int:
    """The process of the gateway."""
    [found] = [pid for pid in children(server.process.pid) if b"-m\0gateway\0" in command_line(pid)]
    return found


def test_restarts_are_counted_by_part(tiny_repository: Path, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"

    def restarts() -> dict[str, int]:
        try:
            text = httpx.get(f"{url}/metrics", timeout=5).text
        except httpx.TransportError:
            return {}
        found = re.findall(r'^emotion2vec_restarts_total\{part="(\w+)"\} (\d+)', text, re.MULTILINE)
        return {part: int(count) for part, count in found}

    own = {"E2V_PORT": str(port), "E2V_OUTPUTS": str(tmp_path / "outputs")}
    with Server(tiny_repository, "--gateway", **own) as server:
        server.read_until("ready on gRPC")
        wait_for(lambda: restarts() == {"triton": 0, "gateway": 0}, BACK_SECONDS, "counting")
        assert "emotion2vec_model_info{" in httpx.get(f"{url}/metrics").text
        os.kill(tritonserver_of(server.process.pid), signal.SIGKILL)
        wait_for(
            lambda: "emotion2vec_model_info{" not in httpx.get(f"{url}/metrics").text,
            BACK_SECONDS,
            "without a model while Triton is away",
        )
        wait_for(lambda: restarts() == {"triton": 1, "gateway": 0}, BACK_SECONDS, "one of Triton")
        server.read_until("Triton runs again")
        os.kill(gateway_of(server), signal.SIGKILL)
        wait_for(lambda: restarts() == {"triton": 1, "gateway": 1}, BACK_SECONDS, "one of each")
        wait_for(lambda: httpx.get(f"{url}/ready").status_code == 200, BACK_SECONDS, "ready again")
        assert "emotion2vec_model_info{" in httpx.get(f"{url}/metrics").text
