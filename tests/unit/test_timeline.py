"""How the client summarises a timeline's segments, against figures computed by hand."""

from __future__ import annotations

import builtins
import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec_client import LABELS, Segment, Stretch, Timeline, TurningPoint
from emotion2vec_client._summary import SMOOTHING, summarise
from emotion2vec_client.analysis.errors import MissingPackageError
from emotion2vec_client.cli.strip import clock, spans, strongest

NOON = datetime(2026, 1, 4, 22, 30, 0, tzinfo=UTC)


def segment(start: float, end: float, speech: float = 1.0, **scores: float) -> Segment:
    """A segment; emotions that are not named have score 0."""
    return Segment(
        start, end, {label.name: scores.get(label.name, 0.0) for label in LABELS}, speech, None
    )


def timeline(*segments: Segment, duration: float = 100.0) -> Timeline:
    return Timeline(segments, duration, 0.5, "vad", "pretrained", NOON, np.zeros(0, np.float32))


def test_scores_are_weighted_by_seconds_of_speech() -> None:
    found = summarise([segment(0, 3, happy=1.0), segment(10, 12, speech=0.5, sad=0.6, angry=0.4)])
    # Three seconds of speech against one.
    assert found.scores["happy"] == pytest.approx(0.75)
    assert found.scores["sad"] == pytest.approx(0.15)
    assert found.scores["angry"] == pytest.approx(0.1)
    assert (found.emotion, found.confidence) == ("happy", pytest.approx(0.75))


def test_windows_without_speech_count_for_nothing() -> None:
    silent = [segment(3, 6, speech=0.0, angry=1.0), segment(6, 9, speech=0.0, angry=1.0)]
    found = summarise([segment(0, 3, happy=1.0), *silent])
    assert found.scores["happy"] == 1
    assert (found.turning_points, found.negative) == ((), None)
    assert summarise(silent) is None
    assert summarise([]) is None


def test_emotion_turns_where_the_mean_around_changes_and_not_at_a_single_segment() -> None:
    # The middles are at 5, 15, 25 ... s. The mean covers middles up to 15 s away: the segment and
    # its neighbours.
    assert SMOOTHING == 15
    feelings = ["happy", "sad", "happy", "happy", "sad", "sad", "sad", "happy"]
    found = summarise(
        [segment(10 * i, 10 * i + 10, **{name: 1.0}) for i, name in enumerate(feelings)]
    )
    # Smoothed: h (a tie of h and s goes to h), h, h, h, s, s, s, h (a tie of s and h).
    assert found.turning_points == (
        TurningPoint(40.0, "happy", "sad"),
        TurningPoint(70.0, "sad", "happy"),
    )
    assert found.negative == Stretch(40.0, 70.0)


def test_a_short_recording_turns_from_segment_to_segment() -> None:
    feelings = ["neutral", "happy", "angry", "fearful", "sad", "disgusted", "other"]
    found = summarise([segment(3 * i, 3 * i + 2, **{name: 1.0}) for i, name in enumerate(feelings)])
    assert [(turn.before, turn.after) for turn in found.turning_points] == list(pairwise(feelings))
    assert found.negative == Stretch(6, 17)


def test_the_longest_negative_stretch_goes_over_pauses_and_kinds_of_negative() -> None:
    calls = [
        segment(0, 10, angry=1.0),
        segment(60, 70, happy=1.0),
        segment(120, 130, angry=1.0),
        segment(180, 185, sad=1.0),
    ]
    assert summarise(calls).negative == Stretch(120.0, 185.0)


TWO = timeline(
    segment(1.5, 3.25, happy=0.75, sad=0.25), segment(3661.0, 3662.0005, sad=1.0), duration=4000.0
)


def test_subtitles() -> None:
    assert TWO.to_srt() == (
        "1\n00:00:01,500 --> 00:00:03,250\n😊 happy 75 %\n\n"
        "2\n01:01:01,000 --> 01:01:02,000\n😢 sad 100 %\n"
    )
    assert TWO.to_vtt() == (
        "WEBVTT\n\n00:00:01.500 --> 00:00:03.250\n😊 happy 75 %\n\n"
        "01:01:01.000 --> 01:01:02.000\n😢 sad 100 %\n"
    )


def test_windows_that_overlap_are_shown_one_after_the_other() -> None:
    windows = timeline(segment(0, 2, happy=1.0), segment(1, 3, sad=1.0))
    assert "00:00:00,000 --> 00:00:01,000" in windows.to_srt()
    assert "00:00:01,000 --> 00:00:03,000" in windows.to_srt()


def test_tables_and_json_hold_every_segment(tmp_path: Path) -> None:
    lines = TWO.to_csv().splitlines()
    assert lines[0].startswith("start,end,speech,emotion,confidence,angry,disgusted")
    assert lines[1].startswith("1.5,3.25,1.0,happy,0.75,0.0")
    frame = TWO.to_dataframe()
    assert frame["emotion"].tolist() == ["happy", "sad"]
    assert frame["sad"].tolist() == [0.25, 1.0]
    assert list(timeline().to_dataframe().columns) == lines[0].split(",")
    TWO.save(tmp_path / "call.json")
    saved = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))
    assert saved == TWO.to_dict()
    assert saved["summary"]["turning_points"] == [
        {"time": 3661.0, "before": "happy", "after": "sad"}
    ]
    assert saved["segments"][0]["scores"]["happy"] == 0.75
    assert timeline().to_dict()["summary"] is None


@pytest.mark.parametrize("found", [TWO, timeline()])
def test_every_format_is_written(found: Timeline, tmp_path: Path) -> None:
    for name, start in [
        ("a.CSV", b"start,"),
        ("a.vtt", b"WEBVTT"),
        ("a.png", b"\x89PNG"),
        ("a.json", b"{"),
    ]:
        found.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(
        ValueError, match=r"does not show the format by its extension: use one of \.json"
    ):
        found.save(tmp_path / "a.txt")


def test_a_missing_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> object:
        if name == "pandas":
            raise ModuleNotFoundError(name="pandas")
        return real(name, *rest, **options)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingPackageError, match=r"pandas.*client\[analysis\]"):
        TWO.to_dataframe()


def test_a_strip_shows_what_takes_most_of_each_column() -> None:
    found = timeline(
        segment(0, 24, happy=1.0), segment(24, 45, sad=1.0), segment(60, 100, angry=1.0)
    )
    assert strongest(spans(found), 100, 5) == ["happy", "sad", "sad", "angry", "angry"]
    assert strongest(spans(timeline(segment(0, 50, sad=1.0))), 100, 10) == ["sad"] * 5 + [None] * 5
    assert strongest(spans(timeline()), 100, 3) == [None] * 3


def test_times_as_people_read_them() -> None:
    assert [clock(seconds) for seconds in (0, 245, 3845.4)] == ["0:00", "4:05", "1:04:05"]
