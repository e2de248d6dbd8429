"""Analyses of embeddings against scikit-learn and numbers worked out by hand."""

from __future__ import annotations

import csv
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion2vec_client.analysis import AnalysisError, MissingPackageError
from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.analysis.clustering import find_clusters
from emotion2vec_client.analysis.fit import fit_head
from emotion2vec_client.analysis.head import Head
from emotion2vec_client.analysis.label_file import LabelledFile, read_labels
from emotion2vec_client.analysis.plots import Point, colours, write_html, write_png
from emotion2vec_client.analysis.projection import perplexity, project
from emotion2vec_client.analysis.similarity import compare, cosine
from emotion2vec_client.cli import common, main
from emotion2vec_client.labels import LABELS
from emotion2vec_client.result import ModelInfo, Outcome, Prediction

DIM = 24
CARD = {"checkpoint": "iic/large", "sha256": "ab" * 32, "weights": "pretrained"}


def blobs(count: int = 3, each: int = 8, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Well separated groups, float32 [count * each, DIM], and the group of each row."""
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(count), each)
    centres = 5.0 + 3.0 * random.normal(size=(count, DIM))
    noise = spread * random.normal(size=(len(truth), DIM))
    return (centres[truth] + noise).astype(np.float32), truth


# Similarity


def test_cosines_are_those_worked_out_by_hand() -> None:
    rows = np.array([[1, 0], [3, 4], [0, -2]], dtype=np.float32)
    expected = [[1, 0.6, 0], [0.6, 1, -0.8], [0, -0.8, 1]]
    np.testing.assert_allclose(cosine(rows), expected, atol=1e-12)
    # Without (1, 0) the first has no direction any more.
    expected = [[np.nan] * 3, [np.nan, 1, -10 / 10], [np.nan, -1, 1]]
    centred = cosine([[1, 0], [3, 4], [0, -2]], centre=[1, 0])
    expected[1][2] = expected[2][1] = (2 * -1 + 4 * -2) / np.sqrt(20 * 5)
    np.testing.assert_allclose(centred, expected, atol=1e-12)


def test_centring_takes_off_what_all_have_in_common() -> None:
    random = np.random.default_rng(1)
    rows, reference = random.normal(size=(4, DIM)), random.normal(size=(50, DIM))
    offset = 40.0
    alone = compare(rows, reference)
    moved = compare(rows + offset, reference + offset)
    assert moved.raw.min() > 0.99
    np.testing.assert_allclose(moved.centred, alone.centred, atol=1e-9)
    assert moved.typical.raw > 0.99
    assert abs(moved.typical.centred) < 0.1
    assert moved.typical.size == 50


def test_files_centre_themselves_only_from_three_on() -> None:
    rows, _ = blobs(3, 1)
    assert compare(rows[:2]).centred is None
    result = compare(rows)
    assert result.own_mean
    np.testing.assert_allclose(result.centred, cosine(rows, rows.mean(axis=0)), atol=1e-6)


def test_a_file_that_is_the_mean_has_no_centred_cosine() -> None:
    rounding = 1e-8 * np.random.default_rng(0).normal(size=(3, DIM))
    result = compare(1 + rounding)
    assert np.isnan(result.centred).all()
    np.testing.assert_allclose(result.raw, 1.0)


@pytest.mark.parametrize(
    ("rows", "reference", "words"),
    [
        (np.ones((1, 4)), None, "similarity needs at least 2 files and got 1"),
        (np.ones(4), None, r"shape \[4\]"),
        (np.full((3, 4), np.inf), None, "row 0 .* not finite"),
        (np.ones((3, 4)), np.ones((1, 4)), "reference set needs at least 2"),
        (np.ones((3, 4)), np.ones((5, 6)), "4 wide"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows: Any, reference: Any, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        compare(rows, reference)


# Maps


@pytest.mark.parametrize("count", [3, 4, 5, 12, 90])
def test_a_map_works_from_three_files_on(count: int) -> None:
    rows, _ = blobs(3, count // 3 + 1)
    rows = rows[:count]
    places = project(rows)
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    np.testing.assert_array_equal(places, project(rows))
    assert 1 < perplexity(count) < count


def test_a_map_keeps_neighbours_together() -> None:
    rows, truth = blobs(3, 30)
    places = project(rows)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (truth[distance.argmin(axis=1)] == truth).all()


def test_what_cannot_be_mapped_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = blobs()
    with pytest.raises(AnalysisError, match="a map needs at least 3 files and got 2"):
        project(rows[:2])
    with pytest.raises(AnalysisError, match="all 5 embeddings are the same"):
        project(np.ones((5, DIM)))
    with pytest.raises(AnalysisError, match="unknown method 'pca'"):
        project(rows, "pca")  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install umap-learn, or use 'tsne'"):
        project(rows, "umap")


HOSTILE = "</script><img src=x onerror=alert(1)>.wav"


def points() -> list[Point]:
    return [
        Point("a.wav", "sad", 0.913),
        Point(HOSTILE, "happy", 0.5),
        Point("b/c.wav", "sad", 0.7, "<b>stress</b>"),
    ]


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    write_html(page, np.array([[0, 0], [1, 5], [2, 1.0]]), points(), "A & B", ["⚠ RANDOM", "note"])
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"https?://|//[a-z]|@import|url\(|<(?:img|iframe|object|embed)\b", text)
    assert re.findall(r"""\b(?:src|href)=["']?([^"'\s>]*)""", text) == ["data:,", "x"]
    assert "default-src 'none'" in text
    # The src above stands in a string of the script, which nothing in it can end.
    assert text.count("</script>") == 1
    [data] = re.findall(r"^const points = (.*);$", text, re.MULTILINE)
    assert json.loads(data)[:2] == ["a.wav\nsad, 91.3 %", f"{HOSTILE}\nhappy, 50.0 %"]
    legend = re.findall(r"</i>(.*?)</button>", text)
    assert [html.unescape(name) for name in legend] == ["happy (1)", "sad (1)", "<b>stress</b> (1)"]
    assert "<b>" not in text
    assert text.count("<circle ") == 3
    assert '<p class="warning">⚠ RANDOM</p>' in text
    assert "A &amp; B" in text


def test_places_keep_their_shape_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    write_html(page, np.array([[0, 0], [4, 0], [4, 2.0]]), points(), "title")
    found = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', page.read_text(encoding="utf-8"))
    first, second, third = np.array(found, dtype=float)
    assert second[0] - first[0] == pytest.approx(2 * (second[1] - third[1]), abs=0.2)
    assert third[1] < second[1], "up is up"


def test_the_picture_is_a_png_of_any_names(tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    named = [Point("开心 $x$ [b].wav", "happy", 1.0), *points()]
    write_png(picture, np.arange(8.0).reshape(4, 2), named, "$title", ["note"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_category_has_its_own_colour() -> None:
    names = [label.name for label in LABELS] + [f"label {number}" for number in range(12)]
    assert len(set(colours(names).values())) == len(names)
    assert colours(["sad"])["sad"] == colours(names)["sad"]


# Clusters


def test_auto_finds_three_blobs() -> None:
    rows, truth = blobs(3, 8)
    found = find_clusters(rows)
    assert found.k == 3
    assert max(found.tried, key=found.tried.__getitem__) == 3
    assert list(found.tried) == list(range(2, 11))
    for cluster in range(3):
        members = found.members(cluster)
        assert len(set(truth[members])) == 1
        assert len(members) == 8
        centre = rows[members].mean(axis=0)
        distances = np.linalg.norm(rows[members] - centre, axis=1)
        np.testing.assert_allclose(found.distance[members], distances, rtol=1e-4)
        assert (np.diff(distances) > -1e-4).all(), "nearest first"


def test_the_silhouette_is_its_definition() -> None:
    rows, _ = blobs(2, 5, spread=3.0)
    found = find_clusters(rows, 2)
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    for row, own in enumerate(found.assignment):
        same = np.flatnonzero(found.assignment == own)
        if len(same) == 1:
            assert found.silhouette[row] == 0
            continue
        inside = distance[row, same].sum() / (len(same) - 1)
        outside = distance[row, found.assignment != own].mean()
        expected = (outside - inside) / max(outside, inside)
        assert found.silhouette[row] == pytest.approx(expected, abs=1e-5)
    assert found.score == pytest.approx(found.silhouette.mean())


def test_the_largest_cluster_is_the_first() -> None:
    rows, _ = blobs(3, 8)
    found = find_clusters(rows[[0, 1, *range(8, 16), *range(16, 20)]], 3)
    assert np.bincount(found.assignment).tolist() == [8, 4, 2]


@pytest.mark.parametrize(
    ("rows", "k", "words"),
    [
        (np.eye(2), None, "clustering needs at least 3 files and got 2"),
        (np.ones((5, 3)), None, "all 5 embeddings are the same"),
        (np.eye(4), 4, "take 2 to 3"),
        (np.eye(4), 1, "1 clusters of 4 files"),
        (np.eye(6)[[0, 0, 1, 1, 1]], 3, "2 of them different"),
    ],
)
def test_what_cannot_be_clustered_is_refused(rows: Any, k: Any, words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        find_clusters(rows, k)


# Heads


@pytest.mark.parametrize("count", [2, 3])
def test_a_saved_head_predicts_as_scikit_learn_does(count: int, tmp_path: Path) -> None:
    rows, truth = blobs(count, 12, spread=6.0)
    # Labels of different size, which weigh the same all the same.
    rows, truth = rows[:-7], truth[:-7]
    labels = [f"标签 {group}" for group in truth]
    head, validation = fit_head(rows, labels, CARD)
    head.save(tmp_path / "head.json")
    loaded = Head.load(tmp_path / "head.json")
    # The same pipeline, put together independently.
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
    with pytest.raises(AnalysisError, match=f"768 wide and the head takes {DIM}"):
        head.predict(np.ones((1, 768)))
    for sha256 in ("cd" * 32, None):
        with pytest.raises(AnalysisError, match=r"made with iic/large \(sha256 abababababab…\)"):
            head.predict(rows, {**CARD, "sha256": sha256})
    # Weights drawn at random have no digest, only a name.
    drawn = {"checkpoint": "random:large", "sha256": None, "weights": "random"}
    head, _ = fit_head(rows, labels, drawn)
    head.check_card(drawn)
    with pytest.raises(AnalysisError, match="random:base"):
        head.check_card({**drawn, "checkpoint": "random:base"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "pickle"}, "is no head"),
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
    with pytest.raises(AnalysisError, match="is no JSON"):
        Head.load(path)


def speakers_without_emotion() -> tuple[np.ndarray, list[str], list[str]]:
    """Every speaker has one label and a voice of their own, which is all the embedding holds."""
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
    assert leaking.accuracy == 1.0, "voices alone tell the labels, when they are in the training"
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
    assert 0 < found.accuracy < 1, "else the test proves nothing"


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
    with pytest.raises(MissingPackageError, match=r"pip install 'emotion2vec-client\[analysis\]'"):
        import_extra("no_such_package_at_all")


# CSV


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
        (b"file,label\na.wav,x\n./a.wav,y\n", "line 3 names ./a.wav again, as line 2 did"),
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


# Commands


class FakeClient:
    """Stands for a server: a file's name begins with its group."""

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def model_info(self) -> ModelInfo:
        return ModelInfo(**{**INFO, **CARD_FIELDS}, card={**CARD, **INFO})

    def predict_many(
        self, items: Iterable[Path], *, embedding: bool = False, **options: object
    ) -> Iterator[Outcome[Path]]:
        rows, truth = blobs(3, 8)
        taken = [0, 0, 0]
        for item in items:
            if item.stat().st_size:
                yield Outcome(item=item, prediction=None, error=AnalysisError("not audio"))
                continue
            group = int(item.name[0])
            row = np.flatnonzero(truth == group)[taken[group]]
            taken[group] += 1
            scores = {label.name: 0.02 for label in LABELS}
            scores[LABELS[group].name] = 0.84
            yield Outcome(
                item=item,
                prediction=Prediction(
                    scores=scores,
                    granularity="utterance",
                    weights="pretrained",
                    embedding=rows[row] if embedding else None,
                    frames=None,
                    timestamp=datetime(2026, 1, 1),
                    duration=1.0,
                ),
                error=None,
            )


INFO: dict[str, Any] = {"revision": None, "precision": "fp32", "target": "cpu"}
CARD_FIELDS: dict[str, Any] = {
    "checkpoint": CARD["checkpoint"],
    "weights": CARD["weights"],
    "labels": tuple(label.name for label in LABELS),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(common, "Client", lambda url: FakeClient())
    monkeypatch.setenv("COLUMNS", "120")
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for group in range(3):
        for number in range(5):
            (recordings / f"{group} [b] {number}.wav").touch()
    return recordings


def test_the_similarity_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / "0 [b] 0.wav"), str(folder / "0 [b] 1.wav")]
    assert main(["similarity", *files, "--reference", str(folder), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == files
    assert answer["centred"][0][1] == pytest.approx(answer["centred"][1][0])
    assert answer["reference"]["files"] == 15
    assert main(["similarity", *files]) == 0
    shown = capsys.readouterr().out
    assert "0 [b] 1.wav" in shown
    assert "--reference" in shown
    assert main(["similarity", str(folder)]) == 0
    assert "Nearest and farthest" in capsys.readouterr().out


def test_the_map_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder.parent / "map.html"
    labels = folder.parent / "labels.csv"
    labels.write_text("file,label\nrecordings/0 [b] 0.wav,stress\n")
    assert main(["map", str(folder), "-o", str(page), "--labels", str(labels)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "stress (1)" in text
    assert "(no label) (14)" in text
    assert main(["map", str(folder), "-o", str(page.with_suffix(".png"))]) == 0
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    labels.write_text("file,label\n0 [b] 0.wav,stress\n")
    assert main(["map", str(folder), "-o", str(page), "--labels", str(labels)]) == 1
    assert "names none of the 15 recordings" in capsys.readouterr().err
    assert main(["map", str(folder), "-o", "map.gif"]) == 2
    assert "neither .html nor .png" in capsys.readouterr().err


def test_the_cluster_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder.parent / "clusters.csv"
    assert main(["cluster", str(folder), "-o", str(table)]) == 0
    assert "3 clusters of 15 files" in capsys.readouterr().out
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    pairs = {(row["cluster"], row["emotion"], Path(row["file"]).name[0]) for row in rows}
    assert len(rows) == 15
    assert len(pairs) == 3
    assert main(["cluster", str(folder), "-k", "2", "-o", str(table.with_suffix(".json"))]) == 0
    assert json.loads(table.with_suffix(".json").read_text())["k"] == 2
    assert main(["cluster", str(folder), "-k", "some"]) == 2


def test_the_head_command_and_a_file_that_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, head = folder.parent / "labels.csv", folder.parent / "stress.json"
    lines = ["file,label,speaker"]
    for path in sorted(folder.iterdir()):
        lines.append(f"recordings/{path.name},{'stress' if path.name[0] == '0' else 'calm'},")
        lines[-1] += path.stem[-1]
    labels.write_text("\n".join(lines))
    assert main(["head", "fit", str(labels), "-o", str(head)]) == 0
    shown = capsys.readouterr().out
    assert "accuracy 100.0 %, UAR 100.0 % (guessing: 50.0 %), 15 files in 5 folds" in shown
    assert "No speaker or group of 5" in shown
    assert Head.load(head).origin.sha256 == CARD["sha256"]
    (folder / "0 [b] 0.wav").write_text("not audio")
    assert main(["head", "fit", str(labels), "-o", str(head)]) == 1
    captured = capsys.readouterr()
    assert "0 [b] 0.wav: not audio" in captured.err
    assert "14 files in 5 folds" in captured.out
    (folder / "0 [b] 0.wav").unlink()
    assert main(["head", "fit", str(labels), "-o", str(head)]) == 1
    assert "0 [b] 0.wav, which is not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["cluster"], ["map", "-o", "map.html"], ["map", "-o", "map.png"]]
)
def test_a_command_says_at_once_which_package_it_lacks(
    command: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(FakeClient, "predict_many", None)
    for package in ("sklearn", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    assert main([command[0], str(folder), *command[1:]]) == 1
    error = capsys.readouterr().err
    assert "pip install 'emotion2vec-client[analysis]'" in error
    assert error.count("\n") == 1
