"""`make bench-encoder` from end to end, on a tiny model; its speed does not matter here."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import encoder, encoder_side
from export.errors import ExportError
from export.sides import Side
from server.backends.onnxruntime.runtime import native_precisions


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["encoder.py", *arguments])
    encoder.main()


def side_here(module: str, *arguments: str) -> AbstractContextManager[Any]:
    """A side in this process; ONNX Runtime's gets its own process, as it must not see PyTorch.

    ``prepare`` reuses the graphs of earlier exports.
    """
    if arguments[0] == "onnxruntime":
        return SIDE(module, *arguments)
    answer = encoder_side.side(encoder_side.parse([*arguments]))
    return nullcontext(SimpleNamespace(ask=lambda **question: answer(question)))


SIDE = Side


@pytest.mark.usefixtures("graphs_from_before")
def test_every_side_answers_the_same_clips(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "result.json"
    monkeypatch.setattr(encoder, "Side", side_here)
    arguments = ["--checkpoint", str(tiny_checkpoint), "--rounds", "2", "--seconds", "1"]
    run(monkeypatch, *arguments, "--output", str(output))
    result = json.loads(output.read_text("utf-8"))
    assert set(result["works"]) == {"1 s", "mix"}
    for work in result["works"].values():
        sides = work["sides"]
        assert set(sides) == {"funasr", "onnxruntime", *native_precisions()}
        # All sides got the same clips, and batches keep their order.
        assert sides["onnxruntime"]["relative_error"] < 1e-4
        assert sides["fp32"]["relative_error"] < 1e-4
        for side in sides.values():
            assert len(side["seconds"]) == 2
            assert side["faster_than_funasr"] == pytest.approx(
                sides["funasr"]["median"] / side["median"]
            )
    # 19 s against 1 s, and attention grows faster than the length.
    ratio = result["works"]["mix"]["flop"] / result["works"]["1 s"]["flop"]
    assert 19 < ratio < 60


def test_a_side_that_cannot_start_ends_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match="its output above says why"):
        run(monkeypatch, "--checkpoint", str(tmp_path), "--rounds", "1")
    assert "config.yaml" in capfd.readouterr().err
