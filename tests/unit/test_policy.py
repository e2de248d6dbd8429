"""What a policy makes of nine scores, against the formula written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec_client import LABELS
from emotion2vec_client.analysis import AnalysisError, Policy
from tests.conftest import ROOT

NAMES = [label.name for label in LABELS]


def scores(count: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(9, 0.5), count)


def named(row: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, row.tolist(), strict=True))


def test_without_rules_nothing_changes() -> None:
    rows = scores()
    policy = Policy()
    assert policy.labels == tuple(NAMES)
    np.testing.assert_allclose(policy.predict(rows), rows, atol=1e-9)


def test_temperature_and_bias_act_on_the_logits() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (50, 9))
    bias = np.random.default_rng(2).normal(0, 1, 9)

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    policy = Policy(temperature=2.5, bias=dict(zip(NAMES, bias.tolist(), strict=True)))
    np.testing.assert_allclose(
        policy.predict(softmax(logits)), softmax(logits / 2.5 + bias), atol=1e-6
    )


def test_banned_labels_share_out_and_merged_ones_add_up() -> None:
    rows = scores()
    policy = Policy(ban=("unknown", "other"), merge={"negative": ("sad", "angry", "fearful")})
    assert policy.labels == ("negative", "disgusted", "happy", "neutral", "surprised")
    found = policy.predict(rows)
    left = 1 - rows[:, NAMES.index("unknown")] - rows[:, NAMES.index("other")]
    negative = sum(rows[:, NAMES.index(name)] for name in ("sad", "angry", "fearful"))
    np.testing.assert_allclose(found[:, 0], negative / left, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_under_the_floor_the_answer_is_uncertain() -> None:
    row = np.full(9, 0.5 / 8)
    row[NAMES.index("happy")] = 0.5
    sure, unsure = Policy(floor=0.5).decide(named(row)), Policy(floor=0.51).decide(named(row))
    assert (sure.label, unsure.label) == ("happy", "uncertain")
    assert sure.confidence == unsure.confidence == pytest.approx(0.5)
    assert sure.scores == unsure.scores


def test_a_score_of_zero_stays_small_and_finite() -> None:
    row = np.zeros(9)
    row[0] = 1
    found = Policy(temperature=2, bias={"sad": 1}).predict([row])
    assert np.isfinite(found).all()
    assert found[0].argmax() == 0


def test_a_saved_policy_decides_the_same(tmp_path: Path) -> None:
    policy = Policy(
        1.5, {"other": -0.5}, ("unknown",), {"negative": ("angry", "disgusted")}, 0.4,
        {"zh": {"negative": "负面", "uncertain": "不确定"}}, {"files": 3},
    )  # fmt: skip
    policy.save(tmp_path / "policy.json")
    loaded = Policy.load(tmp_path / "policy.json")
    assert loaded == policy
    angry = dict.fromkeys(NAMES, 0.05) | {"angry": 0.6}
    happy = dict.fromkeys(NAMES, 0.05) | {"happy": 0.6}
    unsure = dict.fromkeys(NAMES, 1 / 9)
    assert loaded.decide(angry).names == {"zh": "负面"}
    assert loaded.decide(happy).names == {}
    assert loaded.decide(unsure).names == {"zh": "不确定"}


def test_a_hand_written_policy_needs_only_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"format": "emotion2vec-policy", "version": 1, "floor": 0, "ban": ["sad"]}')
    assert Policy.load(path) == Policy(ban=("sad",))


def test_the_policy_of_the_documents_can_be_loaded(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    (tmp_path / "policy.json").write_text(text.split("```json\n")[1].split("```")[0])
    policy = Policy.load(tmp_path / "policy.json")
    assert policy.labels == ("negative", "happy", "neutral", "other", "surprised")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"temperature": 0}, "temperature is 0: give a number above 0"),
        ({"temperature": "hot"}, "temperature is 'hot', but has the form 1.0"),
        ({"floor": 1}, "floor is 1: give a number from 0 to below 1"),
        ({"bias": {"joy": 1}}, "bias has 'joy': the nine labels are angry"),
        ({"bias": {"sad": None}}, "bias of 'sad' is None: give a number"),
        ({"ban": ["joy"]}, "ban has 'joy'"),
        ({"merge": {"bad": ["sad", "joy"]}}, "merge has 'joy'"),
        ({"ban": ["sad"], "merge": {"bad": ["sad", "angry"]}}, "bans or merges sad more than once"),
        ({"ban": NAMES[1:]}, "leaves the labels angry: it needs two or more"),
        ({"merge": {"happy": ["sad", "angry"]}}, "into 'happy', which has a meaning of its own"),
        ({"merge": {"uncertain": ["sad", "angry"]}}, "into 'uncertain', which has"),
        ({"merge": {"bad": []}}, "merges nothing into 'bad'"),
        ({"names": {"zh": {"sad": 5}}}, "name of 'sad' in 'zh' is 5: give a text"),
        ({"names": {"zh": {"joy": "快乐"}}}, "names 'joy' in 'zh', which is none of its labels"),
        ({"colour": "red"}, "has 'colour': a policy knows temperature, bias"),
        ({"version": 2}, "version 2 of the format"),
        ({"format": "emotion2vec-head"}, "is not a policy"),
        ({"merge": {"bad": 3}}, "not iterable"),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(
    content: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"format": "emotion2vec-policy", "version": 1, **content}))
    with pytest.raises(AnalysisError, match=said.replace("(", r"\(")) as raised:
        Policy.load(path)
    assert str(path) in str(raised.value)
