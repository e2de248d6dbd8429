"""The parts of the page that are only text."""

from __future__ import annotations

import pytest

from emotion2vec_client import ModelInfo
from gateway.page import render
from gateway.page.text import CHINESE, ENGLISH, Text


def about(**changes: object) -> ModelInfo:
    usual = {
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
    ],
)
def test_the_foot_calls_the_weights_what_they_are(changes: dict[str, object], words: str) -> None:
    foot = render.foot(ENGLISH, about(license=None, **changes))
    assert words in foot
    assert "Licence" not in foot


def test_a_checkpoints_name_is_escaped() -> None:
    assert "<b>" not in render.foot(ENGLISH, about(checkpoint="<b>", license=("<b>", "<b>")))
