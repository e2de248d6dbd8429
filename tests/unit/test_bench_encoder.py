"""`make bench-encoder` from end to end, on a tiny model whose times are nobody's matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.backends.onnxruntime.runtime import native_precisions
from tests.conftest import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/encoder.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_side_answers_the_same_clips(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    arguments = ["--checkpoint", str(tiny_checkpoint), "--rounds", "2", "--seconds", "1"]
    finished = bench(*arguments, "--output", str(output))
    assert finished.returncode == 0, finished.stderr
    result = json.loads(output.read_text("utf-8"))
    assert set(result["works"]) == {"1 s", "mix"}
    for work in result["works"].values():
        sides = work["sides"]
        assert set(sides) == {"funasr", "onnxruntime", *native_precisions()}
        # The same clips went to all, and a batch came back in its order.
        assert sides["onnxruntime"]["relative_error"] < 1e-4
        assert sides["fp32"]["relative_error"] < 1e-4
        for side in sides.values():
            assert len(side["seconds"]) == 2
            assert side["faster_than_funasr"] == pytest.approx(
                sides["funasr"]["median"] / side["median"]
            )
    # 1 s, and 1 + 3 + 5 + 10 s of which attention grows faster.
    ratio = result["works"]["mix"]["flop"] / result["works"]["1 s"]["flop"]
    assert 19 < ratio < 60


def test_a_side_that_cannot_start_ends_the_benchmark(tmp_path: Path) -> None:
    finished = bench("--checkpoint", str(tmp_path), "--rounds", "1")
    assert finished.returncode != 0
    assert "config.yaml" in finished.stderr
    assert "its lines above say why" in finished.stderr
