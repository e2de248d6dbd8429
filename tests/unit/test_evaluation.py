"""Figures of an evaluation, against audmetric and scikit-learn called directly."""

from __future__ import annotations

import audmetric  # type: ignore[import-untyped]
import numpy as np
import pytest
from sklearn import metrics

from emotion2vec_client import LABELS
from emotion2vec_client.analysis import AnalysisError, Policy, evaluation
from emotion2vec_client.analysis.calibrate import calibrate
from emotion2vec_client.analysis.evaluation import calibration, evaluate

NAMES = [label.name for label in LABELS]
SPOKEN = ["angry", "happy", "neutral", "other", "sad"]


@pytest.fixture(autouse=True)
def few_samples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test of the intervals needs all bootstrap samples, which take seconds."""
    if "interval" not in request.node.name:
        monkeypatch.setattr(evaluation, "RESAMPLES", 10)


def answers(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Truths, and scores that are often right."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(SPOKEN, count, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    logits = rng.normal(0, 1.5, (count, 9))
    logits[np.arange(count), [NAMES.index(name) for name in truth]] += 2.5
    powers = np.exp(logits)
    return truth.tolist(), powers / powers.sum(axis=1, keepdims=True)


def test_the_figures_are_those_of_the_libraries() -> None:
    truth, scores = answers(300)
    answered = [NAMES[place] for place in scores.argmax(axis=1)]
    labels = sorted(set(truth))
    found = evaluate(truth, scores, NAMES)
    recalls = audmetric.recall_per_class(truth, answered)
    assert found.recalls == {name: recalls[name] for name in labels}
    expected = metrics.recall_score(truth, answered, labels=labels, average="macro")
    assert found.uar.value == pytest.approx(expected, abs=1e-15)
    assert found.uar.value == pytest.approx(np.mean([recalls[name] for name in labels]), abs=1e-15)
    assert found.wa.value == audmetric.accuracy(truth, answered)
    for average, figure in (("micro", found.micro_f1), ("macro", found.macro_f1)):
        expected = metrics.f1_score(truth, answered, labels=labels, average=average)
        assert figure.value == pytest.approx(expected, abs=1e-15)
    assert found.truths == tuple(labels)
    assert set(found.answers) == set(truth) | set(answered)
    table = metrics.confusion_matrix(truth, answered, labels=list(found.answers))
    np.testing.assert_array_equal(found.confusion, table[: len(labels)])
    assert found.confusion.sum() == 300


def test_the_interval_holds_the_value_and_narrows_with_more_recordings() -> None:
    few, many = (evaluate(*answers(count), NAMES) for count in (60, 1500))
    for found in (few, many):
        assert found.uar.low < found.uar.value < found.uar.high
    assert many.wa.high - many.wa.low < 0.5 * (few.wa.high - few.wa.low)
    # The binomial distribution's own interval.
    expected = 2 * 1.96 * np.sqrt(many.wa.value * (1 - many.wa.value) / 1500)
    assert many.wa.high - many.wa.low == pytest.approx(expected, rel=0.15)


def test_parts_are_evaluated_alone() -> None:
    truth, scores = answers(200)
    groups = [f"speaker {row % 3}" for row in range(200)]
    seconds = [[1.0, 2.0, 7.0, 30.0][row % 4] for row in range(200)]
    found = evaluate(truth, scores, NAMES, groups=groups, seconds=seconds)
    assert [part.name for part in found.by_group] == ["speaker 0", "speaker 1", "speaker 2"]
    names = ["under 2 s", "2 to 5 s", "5 to 10 s", "10 s and more"]
    assert [part.name for part in found.by_length] == names
    assert [part.files for part in found.by_length] == [50] * 4
    alone = evaluate(truth[0::3], scores[0::3], NAMES)
    assert (found.by_group[0].uar, found.by_group[0].accuracy) == (alone.uar.value, alone.wa.value)


def test_answers_that_name_no_emotion_are_counted_and_left_out() -> None:
    truth = ["sad", "sad", "happy", "other"]
    scores = np.full((4, 9), 0.02)
    for row, (first, second) in enumerate(
        [("other", "sad"), ("unknown", "happy"), ("happy", "sad"), ("other", "sad")]
    ):
        scores[row, NAMES.index(first)] = 0.5
        scores[row, NAMES.index(second)] = 0.36
    found = evaluate(truth, scores, NAMES)
    assert found.evasive == {"other": 0.5, "unknown": 0.25}
    assert found.wa.value == 0.5
    assert found.without is not None
    # Then the answers are sad, happy, happy, and the recording of "other" is left out.
    assert found.without.files == 3
    assert found.without.accuracy == pytest.approx(2 / 3)


def test_answers_under_the_floor_are_wrong_but_not_their_confidence() -> None:
    scores = np.full((2, 9), 0.05)
    scores[:, NAMES.index("sad")] = 0.6
    found = evaluate(["sad", "sad"], scores, NAMES, floor=0.7)
    assert found.answers == ("sad", "uncertain")
    assert found.wa.value == 0
    assert found.evasive == {"other": 0.0, "unknown": 0.0, "uncertain": 1.0}
    assert found.calibration.error == evaluate(["sad"] * 2, scores, NAMES).calibration.error


def test_the_calibration_error_is_the_weighted_distance() -> None:
    # Two intervals: confidence 0.95 with 3 of 4 right, and 0.55 with 1 of 1 right.
    found = calibration([0.95, 0.95, 0.95, 0.95, 0.55], [True, True, True, False, True])
    assert found.error == pytest.approx((4 * abs(0.95 - 0.75) + 1 * abs(0.55 - 1)) / 5)
    assert found.files.tolist() == [1, 4]
    assert calibration([1.0, 0.0], [True, False]).error == 0


def test_what_does_not_match_is_refused() -> None:
    with pytest.raises(AnalysisError, match="0 recordings and 9 labels"):
        evaluate([], np.empty((0, 9)), NAMES)
    with pytest.raises(AnalysisError, match=r"these have \[2, 8\]"):
        evaluate(["sad", "sad"], np.ones((2, 8)), NAMES)


def distorted(
    count: int, temperature: float, bias: dict[str, float]
) -> tuple[list[str], np.ndarray]:
    """Truths drawn from probabilities, and scores that a policy turns into these again."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (count, 9))
    powers = np.exp(logits)
    powers /= powers.sum(axis=1, keepdims=True)
    truth = [NAMES[rng.choice(9, p=row)] for row in powers]
    shift = np.array([bias.get(name, 0.0) for name in NAMES])
    moved = np.exp((logits - shift) * temperature)
    return truth, moved / moved.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_calibration_finds_a_known_temperature_and_bias(temperature: float) -> None:
    bias = {"angry": 1.0, "other": -1.0, "sad": 0.5, "happy": -0.5}
    truth, scores = distorted(4000, temperature, bias)
    groups = [str(row % 8) for row in range(4000)]
    policy, before, after = calibrate(scores, truth, groups)
    assert policy.temperature == pytest.approx(temperature, rel=0.06)
    for name in NAMES:
        assert policy.bias[name] == pytest.approx(bias.get(name, 0.0), abs=0.15)
    assert after.ece < before.ece / 2
    assert after.uar > before.uar
    assert policy.validation["groups"] == 8


def test_labels_that_the_recordings_do_not_have_are_hardly_answered() -> None:
    """The usual case: few corpora have recordings of other and unknown."""
    truth, scores = distorted(3000, 1.5, {"other": -3.0, "unknown": -2.0})
    rows = [row for row, name in enumerate(truth) if name not in ("other", "unknown")]
    truth, scores = [truth[row] for row in rows], scores[rows]
    policy, before, after = calibrate(scores, truth)
    assert after.ece < before.ece / 2
    assert after.ece < 0.05
    assert max(policy.bias, key=lambda name: policy.bias[name]) not in ("other", "unknown")
    answered = np.array(policy.labels)[policy.predict(scores).argmax(axis=1)]
    assert np.isin(answered, ("other", "unknown")).mean() < 0.01


def test_the_error_halves_on_recordings_that_were_not_fitted() -> None:
    truth, scores = distorted(3000, 2.5, {"other": 1.5})
    policy, _, _ = calibrate(scores[:1500], truth[:1500])
    before = evaluate(truth[1500:], scores[1500:], NAMES).calibration.error
    after = evaluate(truth[1500:], policy.predict(scores[1500:]), NAMES).calibration.error
    assert after < before / 2


def test_calibration_keeps_the_rules_of_a_policy() -> None:
    truth, scores = distorted(400, 2.0, {})
    base = Policy(ban=("unknown",), merge={"negative": ("angry", "sad")}, floor=0.3)
    policy, _, _ = calibrate(scores, truth, policy=base)
    assert (policy.ban, policy.merge, policy.floor) == (base.ban, base.merge, base.floor)
    assert policy.temperature != 1


@pytest.mark.parametrize(
    ("truth", "groups", "said"),
    [
        (["sad"] * 4, None, "two labels or more"),
        (["sad", "sad", "sad", "happy"], None, "two recordings of each label"),
        (["sad", "sad", "happy", "happy"], ["x"] * 4, "two speakers or groups"),
    ],
)
def test_too_little_to_calibrate_is_refused(
    truth: list[str], groups: list[str] | None, said: str
) -> None:
    with pytest.raises(AnalysisError, match=said):
        calibrate(answers(4)[1], truth, groups)
