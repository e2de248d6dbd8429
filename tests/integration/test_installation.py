"""Triton where NVIDIA's container has it: the wheel's, laid out as there."""

from __future__ import annotations

from pathlib import Path

import pytest

from emotion2vec_client import Client
from server import installation
from tests.conftest import SAMPLES, serving, settings_for


def test_the_containers_triton_serves_with_its_own_backends(
    tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = installation.find()
    root = tmp_path / "tritonserver"
    (root / "backends").mkdir(parents=True)
    wheel.backend_folder(root / "backends")
    (root / "bin").symlink_to(wheel.binary.parent)
    monkeypatch.setattr(installation, "CONTAINER", root)
    # The image's loader finds the system's own.
    monkeypatch.setenv("LD_LIBRARY_PATH", str(wheel.libpython or ""))
    found = installation.find()
    assert found.binary == root / "bin" / "tritonserver"
    assert found.backend_folder(tmp_path / "unused") == root / "backends"
    with serving(settings_for(tiny_repository)) as triton:
        with Client(f"127.0.0.1:{triton.settings.grpc_port}") as client:
            assert client.predict(SAMPLES / "happy.wav").emotion
        backends = f"--backend-directory={root / 'backends'}"
        assert backends.encode() in Path(f"/proc/{triton.pid}/cmdline").read_bytes()
