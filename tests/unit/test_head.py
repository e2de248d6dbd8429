"""Heads on embeddings, against scikit-learn, and the labels that they learn from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion2vec_client.analysis import AnalysisError, MissingPackageError
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.fit import fit_head
from emotion2vec_client.analysis.head import Head
from emotion2vec_client.analysis.label_file import LabelledFile, read_labels
from tests.unit.blobs import CARD, DIM, blobs


@pytest.mark.parametrize("count", [2, 3])
def test_a_saved_head_predicts_as_scikit_learn_does(count: int, tmp_path: Path) -> None:
    rows, truth = blobs(count, 12, spread=6.0)
    # The labels have different numbers of files, but equal weight.
    rows, truth = rows[:-7], truth[:-7]
    labels = [f"标签 {group}" for group in truth]
    head, validation = fit_head(rows, labels, CARD)
    head.save(tmp_path / "head.json")
    loaded = Head.load(tmp_path / "head.json")
    # Build the same pipeline independently.
    logistic = LogisticRegression(class_weight="balanced", max_iter=5000)
    reference = make_pipeline(StandardScaler(), logistic).fit(rows.astype(np.float64), labels)
    fresh = 9 * np.random.default_rng(2).normal(size=(40, DIM)).astype(np.float32)
    probabilities = loaded.predict(fresh, CARD)
    assert probabilities.dtype == np.float64
    assert loaded.labels == tuple(reference.classes_)
    expected = reference.predict_proba(fresh.astype(np.float64))
    np.testing.assert_allclose(probabilities, expected, atol=1e-9)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    assert loaded.validation == validation.to_dict()
    assert loaded.origin == head.origin


def test_a_head_predicts_without_scikit_learn(tmp_path: Path) -> None:
    rows, truth = blobs(2)
    fit_head(rows, [str(group) for group in truth], CARD)[0].save(tmp_path / "head.json")
    script = (
        "import sys, numpy; sys.modules['sklearn'] = sys.modules['matplotlib'] = None\n"
        "from emotion2vec_client.analysis.head import Head\n"
        f"print(Head.load(sys.argv[1]).predict(numpy.ones((3, {DIM}))).shape)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "head.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "(3, 2)\n"


def test_extreme_embeddings_do_not_overflow() -> None:
    rows, truth = blobs(2)
    head, _ = fit_head(rows, [str(group) for group in truth], CARD)
    assert np.isfinite(head.predict(np.full((1, DIM), 1e30))).all()


def test_a_head_refuses_other_embeddings() -> None:
    rows, truth = blobs(2)
    labels = [str(group) for group in truth]
    head, _ = fit_head(rows, labels, CARD)
    with pytest.raises(AnalysisError, match=f"768 wide, but the head takes {DIM}"):
        head.predict(np.ones((1, 768)))
    for sha256 in ("cd" * 32, None):
        with pytest.raises(AnalysisError, match=r"made with iic/large \(sha256 abababababab…\)"):
            head.predict(rows, {**CARD, "sha256": sha256})
    # Random weights have a name but no digest.
    drawn = {"checkpoint": "random:large", "sha256": None, "weights": "random"}
    head, _ = fit_head(rows, labels, drawn)
    head.check_card(drawn)
    with pytest.raises(AnalysisError, match="random:base"):
        head.check_card({**drawn, "checkpoint": "random:base"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "pickle"}, "is not a head"),
        ({"version": 2}, "has version 2"),
        ({"mean": [1.0]}, "fit the head again"),
        ({"scale": ["x"] * DIM}, "is damaged"),
        ({"intercept": [0.0, float("nan")]}, "not finite"),
        ({"labels": ["a", "a"]}, "two different labels"),
        ({"model": {}}, "checkpoint"),
    ],
)
def test_a_damaged_head_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    rows, truth = blobs(2)
    path = tmp_path / "head.json"
    fit_head(rows, [str(group) for group in truth], CARD)[0].save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(AnalysisError, match=words):
        Head.load(path)
    path.write_text("{")
    with pytest.raises(AnalysisError, match="is not JSON"):
        Head.load(path)


def speakers_without_emotion() -> tuple[np.ndarray, list[str], list[str]]:
    """Every speaker has one label, and the embedding contains only the speaker's voice."""
    random = np.random.default_rng(3)
    voices = 10 * random.normal(size=(10, 200))
    speakers = np.repeat(np.arange(10), 6)
    rows = (voices[speakers] + 0.1 * random.normal(size=(60, 200))).astype(np.float32)
    labels = ["stress" if speaker % 2 else "calm" for speaker in speakers]
    return rows, labels, [f"speaker {speaker}" for speaker in speakers]


def test_no_speaker_is_in_training_and_test_at_once() -> None:
    rows, labels, speakers = speakers_without_emotion()
    _, leaking = fit_head(rows, labels, CARD)
    assert leaking.by == "file"
    assert leaking.accuracy == 1.0, "known voices are enough to predict the labels"
    _, apart = fit_head(rows, labels, CARD, speakers)
    assert apart.by == "group"
    assert apart.folds == 5
    assert apart.accuracy < 0.8
    assert apart.confusion.sum() == 60


def test_the_figures_are_their_definitions() -> None:
    rows, truth = blobs(3, 10, spread=8.0)
    keep = [*range(10), *range(10, 16), *range(20, 23)]
    labels = np.array(["a", "b", "c"])[truth[keep]]
    _, found = fit_head(rows[keep], labels.tolist(), CARD)
    assert found.folds == 3, "as many as the rarest label has files"
    assert found.confusion.sum(axis=1).tolist() == [10, 6, 3]
    diagonal = [int(found.confusion[each, each]) for each in range(3)]
    assert found.accuracy == pytest.approx(sum(diagonal) / 19)
    recalls = [diagonal[0] / 10, diagonal[1] / 6, diagonal[2] / 3]
    assert found.uar == pytest.approx(sum(recalls) / 3)
    assert 0 < found.accuracy < 1, "otherwise the test proves nothing"


def test_folds_that_lack_a_label_are_counted() -> None:
    rows, truth = blobs(2, 6)
    _, found = fit_head(rows, [str(group) for group in truth], CARD, [str(g) for g in truth])
    assert (found.folds, found.incomplete_folds, found.accuracy) == (2, 2, 0.0)


def test_a_single_speaker_is_validated_by_files() -> None:
    rows, truth = blobs(2)
    _, found = fit_head(rows, [str(group) for group in truth], CARD, ["one"] * len(rows))
    assert found.by == "file"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 16, "all files have the label 'a'"),
        (["a"] * 15 + ["b"], "label 'b' has one file"),
        (["a", "b"], "16 embeddings and 2 labels"),
    ],
)
def test_what_cannot_be_fitted_is_refused(labels: list[str], words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        fit_head(blobs(2)[0], labels, CARD)


def test_a_missing_package_is_one_sentence() -> None:
    with pytest.raises(MissingPackageError, match=r"pip install './client\[analysis\]'"):
        import_extra("no_such_package_at_all")


def test_labels_are_relative_to_their_csv(tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    source.write_bytes(
        '\ufeffFile, Label,speaker\r\n"a,b.wav",紧张, s1\r\n/c.wav,x,s2\r\n'.encode()
    )
    assert read_labels(source) == [
        LabelledFile(tmp_path / "a,b.wav", "紧张", "s1"),
        LabelledFile(Path("/c.wav"), "x", "s2"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no column 'file' but nothing at all"),
        (b"file;label\na;b\n", "has no column 'file' but file;label"),
        (b"file,emotion\na,b\n", "has no column 'label' but file, emotion"),
        (b"file,label\n", "a header and no rows"),
        (b"file,label\na.wav,\n", "line 2 has no label"),
        (b"file,label\na.wav\n", "line 2 has no label"),
        (b"file,label,speaker\na.wav,x,s\nb.wav,x,\n", "line 3 has no speaker"),
        (b"file,label\na.wav,x,y\n", "line 2 has more than 2 columns"),
        (b"file,label\na.wav,x\n./a.wav,y\n", "line 3 names a.wav again, as line 2 did"),
        (b"file,label,speaker,group\na,b,c,d\n", "both 'speaker' and 'group'"),
        ("file,label\na,紧张\n".encode("gbk"), "is not UTF-8"),
    ],
)
def test_a_bad_csv_is_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    source.write_bytes(content)
    with pytest.raises(AnalysisError, match=re.escape(words)) as caught:
        read_labels(source)
    assert "\n" not in str(caught.value)
