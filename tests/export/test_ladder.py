"""`python -m export --ladder`, with a tiny model; its speed does not matter here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from export import ladder, samples
from export.__main__ import main
from export.errors import ExportError
from export.verify import TOLERANCES, Row, table


@pytest.fixture
def half(graph_before: Callable[[str], Path]) -> None:
    graph_before("fp16")


@pytest.mark.usefixtures("half", "graphs_from_before")
def test_every_precision_of_this_machine_is_compared_and_the_card_keeps_it(
    tiny_checkpoint: Path,
    empty_repository: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ladder, "ROUNDS", 2)
    monkeypatch.setattr(ladder, "RUNGS", ("fp32", "fp16"))
    repository = empty_repository()
    common = ["--checkpoint", str(tiny_checkpoint), "--model-repository", str(repository)]
    assert main([*common, "--precision", "fp32", "--ladder"]) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["fp32", "fp16"]
    card = json.loads((repository / "encoder" / "model_card.json").read_text("utf-8"))
    exact, half = card["ladder"]
    assert exact["speed"] == {"3 s": 1, "10 s": 1, "30 s": 1}
    assert exact["scores"] < 1e-5
    assert (exact["flips"], exact["clear_flips"], exact["passes"]) == (0, 0, True)
    assert half["clips"] == 1
    assert half["megabytes"] < 0.8 * exact["megabytes"]
    assert half["peak_megabytes"] > 50


def test_only_what_this_machine_computes_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    native = "server.backends.onnxruntime.runtime.is_native"
    monkeypatch.setattr(native, lambda name, *_: name == "bf16")
    assert ladder.precisions("cpu") == ["bf16", "fp16"]
    assert ladder.precisions("cuda") == ["fp32", "fp16"]


def row(clip: str = "clip", scores: float = 0.0, flipped: bool = False, margin: float = 1) -> Row:
    exact = (0.0, 0.0)
    return Row(clip, 16_000, (scores, 0.0), exact, exact, exact, 0.0, flipped, margin)


def test_a_table_of_many_clips_shows_the_furthest() -> None:
    rows = [row(f"clip {number}", 1e-8 * number) for number in range(100)]
    rows.append(row("flipped", flipped=True))
    lines = table(rows, TOLERANCES["fp32"]).splitlines()
    assert [line.split()[1] for line in lines[4:7]] == ["99", "98", "97"]
    assert "TOO FAR" in lines[3]
    assert lines[-1] == "and 61 clips whose scores are nearer"
    assert len(table(rows[:40], TOLERANCES["fp32"]).splitlines()) == 43


def test_no_precision_may_change_a_clear_answer() -> None:
    for tolerance in TOLERANCES.values():
        assert row(flipped=False, margin=0.5).within(tolerance)
        assert row(flipped=True, margin=0.09).within(tolerance)
        assert not row(flipped=True, margin=0.11).within(tolerance)


def test_recordings_that_cannot_be_read_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "good.wav", np.zeros(8_000), 8_000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:20])
    (tmp_path / "phone.m4a").write_bytes(b"no sound")
    (tmp_path / "._good.wav").touch()
    (tmp_path / "notes.txt").touch()
    assert [len(clip) for clip in samples.recordings(tmp_path).values()] == [16_000]
    told = capsys.readouterr().out
    assert f"2 recordings of {tmp_path} are left out (cut.wav, phone.m4a)" in told
    (tmp_path / "good.wav").unlink()
    with pytest.raises(ExportError, match="has no recording that can be used"):
        samples.recordings(tmp_path)


def test_of_many_recordings_some_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(1_600), 16_000)
    assert list(samples.recordings(tmp_path, 3)) == ["0.wav", "3.wav", "6.wav"]
    assert f"3 of 10 recordings in {tmp_path} are used" in capsys.readouterr().out
