"""``python -m benchmarks.decoding`` from end to end; its times do not matter here."""

from __future__ import annotations

import sys

import pytest

from benchmarks import decoding


def test_every_format_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["decoding.py", "--rounds", "1"])
    monkeypatch.setattr(decoding, "SOURCES", ((16_000, 1), (44_100, 2)))
    monkeypatch.setattr(decoding, "SUFFIXES", ("wav", "opus"))
    decoding.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    names = [row[1].strip() for row in rows]
    assert names == ["wav, 16 kHz, mono", "opus, 16 kHz, mono", "wav, 44.1 kHz, stereo"]
    for row in rows:
        assert all(cell.strip().endswith(" ms") for cell in row[2:5])
