"""The commands `similarity`, `map`, `cluster` and `head`, on known embeddings."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion2vec_client._result import ModelInfo, Outcome, Prediction
from emotion2vec_client.analysis import AnalysisError
from emotion2vec_client.analysis.head import Head
from emotion2vec_client.cli import connection, main
from emotion2vec_client.labels import LABELS
from tests.unit.blobs import CARD, blobs


class FakeClient:
    """Replaces a server; a file's name begins with its group."""

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


INFO: dict[str, Any] = {
    "published": True,
    "license": None,
    "revision": None,
    "precision": "fp32",
    "target": "cpu",
}
CARD_FIELDS: dict[str, Any] = {
    "checkpoint": CARD["checkpoint"],
    "weights": CARD["weights"],
    "labels": tuple(label.name for label in LABELS),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(connection, "Client", lambda *_, **__: FakeClient())
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
    assert main(["map", str(folder), "-o", str(page), "--labels", str(labels)]) == 2
    assert "names none of the 15 recordings" in capsys.readouterr().err
    assert main(["map", str(folder), "-o", "map.gif"]) == 2
    assert "does not end in .html or .png: name it" in capsys.readouterr().err


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
    assert "None of the 5 speakers or groups was in both" in shown
    assert Head.load(head).origin.sha256 == CARD["sha256"]
    (folder / "0 [b] 0.wav").write_text("not audio")
    assert main(["head", "fit", str(labels), "-o", str(head)]) == 1
    captured = capsys.readouterr()
    assert "0 [b] 0.wav: not audio" in captured.err
    assert "14 files in 5 folds" in captured.out
    (folder / "0 [b] 0.wav").unlink()
    assert main(["head", "fit", str(labels), "-o", str(head)]) == 2
    assert "0 [b] 0.wav, which cannot be found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["similarity", "0.wav"], "similarity needs at least 2 files and got 1: give more"),
        (
            ["similarity", "0.wav", "1.wav", "--reference", "2.wav"],
            "a reference set needs at least",
        ),
        (["map", "0.wav", "1.wav", "-o", "map.png"], "a map needs at least 3 files and got 2"),
        (["map", "0.wav", "1.wav", "2.wav", "-o", "map.png", "--labels", "none.csv"], "none.csv"),
        (["cluster", "0.wav", "1.wav"], "clustering needs at least 3 files and got 2"),
        (["cluster", "0.wav", "1.wav", "2.wav", "-k", "99"], "99 clusters of 3 files are not"),
        (["head", "fit", "none.csv", "-o", "head.json"], "cannot use none.csv: No such file"),
        (["head", "fit", "empty.csv", "-o", "head.json"], "empty.csv has no column 'file'"),
    ],
)
def test_what_cannot_be_analysed_is_wrong_usage_before_anything_is_sent(
    command: list[str],
    told: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(FakeClient, "predict_many", None)
    for name in ("0.wav", "1.wav", "2.wav", "empty.csv"):
        Path(name).touch()
    assert main(command) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


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
    assert "pip install './client[analysis]'" in error
    assert error.count("\n") == 1
