"""The text parts of the page."""

from __future__ import annotations

import time
from typing import Any

import pytest

from emotion2vec_client import ModelInfo
from emotion2vec_client.labels import LABELS
from gateway.page import render
from gateway.page.build import build
from gateway.page.chinese import CHINESE
from gateway.page.english import ENGLISH
from gateway.page.text import Text
from gateway.problems import Problem
from gateway.settings import Settings


def about(**changes: object) -> ModelInfo:
    usual: dict[str, object] = {
        "checkpoint": "iic/emotion2vec_plus_large",
        "revision": None,
        "weights": "pretrained",
        "published": True,
        "license": ("model-license", "https://example.org/license"),
        "precision": "bf16",
        "target": "cpu",
        "labels": (),
        "card": {},
    }
    return ModelInfo(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (ENGLISH, "Model: iic/emotion2vec_plus_large, published weights, bf16 · Licence of the"),
        (CHINESE, "模型：iic/emotion2vec_plus_large，官方发布的权重，bf16 · 权重许可"),
    ],
)
def test_the_foot_names_the_licence_and_links_to_it(text: Text, model: str) -> None:
    foot = render.foot(text, about())
    assert model in foot
    assert '<a href="https://example.org/license" target="_blank" rel="noopener">' in foot


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"published": False}, "weights other than the published ones"),
        ({"published": None}, "pretrained weights"),
        ({"published": False, "weights": "random"}, "random weights"),
        ({"published": False, "weights": "demonstration"}, "weights of the demonstration model"),
    ],
)
def test_the_foot_calls_the_weights_what_they_are(changes: dict[str, object], words: str) -> None:
    foot = render.foot(ENGLISH, about(license=None, **changes))
    assert words in foot
    assert "Licence" not in foot


def test_a_checkpoints_name_is_escaped() -> None:
    assert "<b>" not in render.foot(ENGLISH, about(checkpoint="<b>", license=("<b>", "<b>")))


LANGUAGES = pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])

OPERATORS = (
    "no emotion2vec-triton server is ready at grpc://127.0.0.1:8001: start it with 'make run'"
)


@LANGUAGES
@pytest.mark.parametrize(
    ("code", "status", "english", "chinese"),
    [
        ("not_ready", 503, "Wait a moment and try again", "请稍后再试"),
        ("overloaded", 429, "Wait a moment and try again", "请稍后再试"),
        ("timeout", 504, "Try again", "请稍后再试"),
        ("not_saved", 507, "tell the people who run it", "请联系管理员"),
        ("never_heard_of", 502, "Try again", "请稍后再试"),
        ("too_long", 422, ENGLISH.timeline_tab, CHINESE.timeline_tab),
    ],
)
def test_visitors_read_what_they_can_do_and_nothing_of_the_server(
    text: Text, code: str, status: int, english: str, chinese: str
) -> None:
    said = render.problem(text, Problem(status, code, OPERATORS), Settings())
    assert (english if text is ENGLISH else chinese) in said
    assert "grpc" not in said
    assert "make" not in said


@LANGUAGES
def test_what_only_the_server_knows_of_the_file_is_said_as_well(text: Text) -> None:
    detail = "the file's audio is encoded as <opera>, which is not supported"
    said = render.problem(text, Problem(415, "unsupported", detail), Settings())
    assert '<p class="e2v-detail" lang="en">' in said
    assert "encoded as &lt;opera&gt;" in said


def test_both_languages_know_the_same_problems() -> None:
    assert ENGLISH.problems.keys() == CHINESE.problems.keys()
    for element in ("timeline", "batch"):
        english, chinese = getattr(ENGLISH, element), getattr(CHINESE, element)
        assert english.keys() == chinese.keys()
        assert english["problems"].keys() == chinese["problems"].keys()


def frame_answer(**kept: object) -> Any:
    scores = {label.name: 1 / 9 for label in LABELS}
    return {
        "emotion": "happy",
        "confidence": 1 / 9,
        "scores": scores,
        "timestamp": "2026-01-04 22:30:00",
        "duration": 0.045,
        "weights": "pretrained",
        "model": "iic/emotion2vec_plus_large",
        "precision": "fp32",
        "filename": "happy.wav",
        "sample_rate": 16_000,
        "milliseconds": {"decode": 1.0, "recognise": 2.0},
        "frame_hop": 0.02,
        "frame_scores": {name: [score] * 2 for name, score in scores.items()},
        **kept,
    }


KEPT: dict[str, Any] = {
    "output_dir": "outputs/outputs_20260104_223000",
    "files": {"result.json": "/outputs/outputs_20260104_223000/result.json"},
}


@pytest.mark.parametrize(("zone", "offset"), [("UTC", "+00:00"), ("Asia/Shanghai", "+08:00")])
def test_the_time_has_its_zone(monkeypatch: pytest.MonkeyPatch, zone: str, offset: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        said = render.result(ENGLISH, frame_answer())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert f"<dd>2026-01-04 22:30:00 (UTC{offset})</dd>" in said


@LANGUAGES
def test_what_is_not_kept_is_neither_offered_nor_said_to_be_saved(text: Text) -> None:
    said = render.result(text, frame_answer())
    assert render.folder_of(frame_answer()) is None
    assert "data-folder" not in said
    assert "e2v-downloads" not in said
    assert f"<dt>{text.log_lines[-1][0]}</dt>" not in said
    # The chart still has its numbers.
    assert "0.1111" in said


def test_the_audio_of_the_chart_is_the_servers_or_the_visitors_own() -> None:
    wav = {"processed_audio.wav": "/outputs/outputs_20260104_223000/processed_audio.wav"}
    assert 'audio="/outputs/' in render.result(
        ENGLISH, frame_answer(**{**KEPT, "files": {**KEPT["files"], **wav}}), "/own"
    )
    assert 'audio="/own"' in render.result(ENGLISH, frame_answer(**KEPT), "/own")
    assert "audio=" not in render.result(ENGLISH, frame_answer(**KEPT))


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [({}, 3600), ({"keep_results": 0}, 300), ({"keep_audio": False}, 300)],
)
def test_uploads_are_kept_no_longer_than_needed(changes: dict[str, Any], seconds: int) -> None:
    nobody: Any = None
    blocks = build(ENGLISH, nobody, nobody, Settings(**changes), [])
    assert blocks.delete_cache is not None
    assert blocks.delete_cache[1] == seconds


@LANGUAGES
def test_the_banner_says_how_good_the_demonstration_model_is(text: Text) -> None:
    assert render.caution(text, about()) == ""
    said = render.caution(text, about(weights="demonstration", uar=0.655))
    assert "66 %" in said
    assert "make export" in said
    assert "66 %" not in render.caution(text, about(weights="random"))


@LANGUAGES
def test_a_result_of_other_weights_has_a_chip(text: Text) -> None:
    for weights in ("random", "demonstration"):
        assert text.chips[weights] in render.result(text, frame_answer(weights=weights))
    assert "e2v-chip" not in render.result(text, frame_answer())
