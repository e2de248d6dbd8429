"""Evaluation, policies and heads, through the real server: the same numbers everywhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pyarrow import parquet
from sklearn.metrics import accuracy_score, recall_score

from benchmarks.launch import wait_until
from emotion2vec_client import LABELS, Client
from emotion2vec_client.analysis import AnalysisError, Head, Policy
from emotion2vec_client.analysis.head import Origin
from emotion2vec_client.cli import main
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway

REAL = SAMPLES / "real"
HAPPY = REAL / "happy.flac"
SCENE = REAL / "scene.ogg"
POLICY = Policy(
    temperature=1.5,
    bias={"other": -0.5},
    ban=("unknown",),
    merge={"negative": ("angry", "disgusted", "fearful", "sad")},
    floor=0.2,
    names={"zh": {"negative": "负面", "happy": "高兴", "uncertain": "不确定"}},
)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "strict.json"
    POLICY.save(path)
    return path


@pytest.fixture(scope="module")
def heads(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    with Client(url) as client:
        origin = Origin.of_card(client.model_info().card)
        width = int(client.model_info().card["embed_dim"])
    for seed, name in enumerate(("stress", "age")):
        weights = np.random.default_rng(seed).standard_normal((2, width))
        labels = ("low", "high")
        made = Head(labels, np.zeros(width), np.ones(width), weights, np.zeros(2), origin)
        made.save(folder / f"{name}.json")
    return folder


@pytest.fixture(scope="module")
def judging(url: str, rules: Path, heads: Path) -> Iterator[Client]:
    loaded = {path.stem: Head.load(path) for path in heads.glob("*.json")}
    with Client(url, policy=Policy.load(rules), heads=loaded) as client:
        yield client


@pytest.fixture(scope="module")
def gateway(
    url: str, rules: Path, heads: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    outputs = tmp_path_factory.mktemp("outputs")
    with Gateway(url, outputs, E2V_POLICY=str(rules), E2V_HEADS=str(heads)) as running:
        yield running


def by_hand(scores: dict[str, float]) -> dict[str, float]:
    """`POLICY`, written out."""
    weights = {name: score ** (1 / 1.5) for name, score in scores.items() if name != "unknown"}
    weights["other"] *= np.exp(-0.5)
    total = sum(weights.values())
    merged = {"negative": 0.0}
    for name, weight in weights.items():
        into = "negative" if name in POLICY.merge["negative"] else name
        merged[into] = merged.get(into, 0.0) + weight / total
    return merged


def test_a_policy_and_heads_judge_beside_the_nine_scores(client: Client, judging: Client) -> None:
    plain = client.predict(HAPPY, embedding=True)
    found = judging.predict(HAPPY)
    assert found.scores == pytest.approx(plain.scores, abs=1e-6)
    assert found.policy is not None
    assert found.policy.scores == pytest.approx(by_hand(dict(plain.scores)), abs=1e-5)
    assert found.policy.confidence == max(found.policy.scores.values())
    # The heads got the embedding; the caller did not ask for it.
    assert found.embedding is None
    assert plain.embedding is not None
    for name, head in judging.judges.heads.items():
        [expected] = head.predict(plain.embedding[np.newaxis])
        assert list(found.heads[name].scores.values()) == pytest.approx(expected, abs=1e-5)
    frames = judging.predict(HAPPY, granularity="frame", embedding=True)
    assert frames.frames is not None
    assert frames.frames.embedding is not None
    assert frames.policy is not None
    assert frames.policy.scores == pytest.approx(found.policy.scores, abs=1e-5)


def test_each_segment_and_the_whole_are_judged_alike(judging: Client, tmp_path: Path) -> None:
    found = judging.timeline(SCENE)
    assert len(found.segments) > 1
    assert found.summary is not None
    for scored in (*found.segments, found.summary):
        assert scored.policy == POLICY.decide(scored.scores)
        assert set(scored.heads) == {"stress", "age"}
    weights = [(each.end - each.start) * each.speech for each in found.segments]
    highs = [each.heads["stress"].scores["high"] for each in found.segments]
    mean = np.average(highs, weights=weights)
    assert found.summary.heads["stress"].scores["high"] == pytest.approx(mean)
    assert all(segment.embedding is None for segment in found.segments)
    found.save(tmp_path / "scene.csv")
    with (tmp_path / "scene.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["policy_label"] for row in rows] == [each.policy.label for each in found.segments]
    assert float(rows[0]["stress_high"]) == found.segments[0].heads["stress"].scores["high"]
    assert f"{found.segments[0].policy.label} " in found.to_srt().splitlines()[2]


def test_rest_gives_the_same_decisions(gateway: Gateway, judging: Client) -> None:
    answer = gateway.predict(HAPPY).json()
    expected = judging.predict(HAPPY).to_dict()
    assert answer["policy"]["label"] == expected["policy"]["label"]
    assert answer["policy"]["names"] == expected["policy"]["names"]
    assert answer["policy"]["scores"] == pytest.approx(expected["policy"]["scores"], abs=1e-5)
    assert answer["heads"].keys() == {"stress", "age"}
    assert len(answer["scores"]) == 9
    job = gateway.finished(gateway.timeline(SCENE).json())
    result = job["result"]
    for scored in (*result["segments"], result["summary"]):
        decided = POLICY.decide(scored["scores"]).to_dict()
        assert scored["policy"]["label"] == decided["label"]
        assert scored["policy"]["scores"] == pytest.approx(decided["scores"], abs=1e-5)
        assert scored["heads"].keys() == {"stress", "age"}


def test_a_head_of_another_checkpoint_is_refused_by_name(url: str, heads: Path) -> None:
    made = Head.load(heads / "stress.json")
    other = Head(
        made.labels, made.mean, made.scale, made.coefficients, made.intercept,
        Origin("elsewhere", "0" * 64, "pretrained"),
    )  # fmt: skip
    with (
        Client(url, heads={"stress": other}) as client,
        pytest.raises(AnalysisError, match=r"head stress: .* made with elsewhere"),
    ):
        client.predict(HAPPY)


def test_a_table_of_segments_keeps_their_scores_as_numbers(
    url: str, rules: Path, heads: Path, tmp_path: Path
) -> None:
    table = tmp_path / "calls.parquet"
    judges = ["--policy", str(rules), "--head", str(heads / "stress.json")]
    scene = str(REAL / "scene.ogg")
    assert main(["timeline", scene, "--url", url, *judges, "-o", str(table)]) == 0
    rows = parquet.read_table(table)
    assert len(rows) > 3
    for name in rows.column_names:
        if name.startswith(("policy_", "stress_")) and not name.endswith("_label"):
            assert str(rows.schema.field(name).type) == "float", name


def test_a_gateway_with_a_head_of_another_model_is_not_ready(
    url: str, heads: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "heads"
    folder.mkdir()
    content = json.loads((heads / "stress.json").read_text("utf-8"))
    content["model"] = {"checkpoint": "elsewhere", "sha256": "0" * 64, "weights": "pretrained"}
    (folder / "stress.json").write_text(json.dumps(content), "utf-8")
    other = Gateway(url, tmp_path / "outputs", E2V_HEADS=str(folder))
    other.start()

    def told() -> str:
        try:
            return other.http.get("/ready").text
        except httpx.ConnectError:
            return ""

    try:
        wait_until(lambda: "head stress: " in told(), "the head is refused")
        assert other.http.get("/ready").status_code == 503
    finally:
        other.end()


def test_evaluate_reports_what_the_answers_say(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    table = REAL / "labels.csv"
    arguments = ["evaluate", str(table), "--url", url, "-o", str(report)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    with table.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    truth = ["other" if row["label"] == "boredom" else row["label"] for row in rows]
    answered = [client.predict(REAL / row["file"]).emotion for row in rows]
    content = json.loads((report / "report.json").read_text())
    assert content["wa"]["value"] == accuracy_score(truth, answered)
    expected = recall_score(truth, answered, labels=sorted(set(truth)), average="macro")
    assert content["uar"]["value"] == pytest.approx(expected, abs=1e-15)
    assert content["meanings"] == {"boredom": "other"}
    assert content["failures"] == {}
    assert f"{expected:.3f}" in printed
    text = (report / "report.md").read_text()
    assert "trained on many public corpora" in text
    assert "boredom → other" in text
    for picture in ("confusion.png", "reliability.png"):
        assert f"]({picture})" in text
        assert (report / picture).read_bytes().startswith(b"\x89PNG")
    # Answers are kept, and not asked for again.
    before = (report / "answers.jsonl").read_bytes()
    assert main(arguments) == 2
    assert "already has rows" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert (report / "answers.jsonl").read_bytes() == before
    # Answers of another model must not be mixed with this one's.
    model = json.loads((report / "model.json").read_text())
    (report / "model.json").write_text(json.dumps({**model, "precision": "int8"}))
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 2
    assert "precision was int8 and is fp32" in " ".join(capsys.readouterr().err.split())


def test_evaluate_measures_a_policy_and_fails_under_a_threshold(
    url: str, rules: Path, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    common = ["evaluate", str(REAL / "labels.csv"), "--url", url, "--policy", str(rules)]
    assert main([*common, "-o", str(report), "--fail-under", "wa=0"]) == 0
    content: dict[str, Any] = json.loads((report / "report.json").read_text())
    scores = {path.stem: client.predict(path).scores for path in REAL.glob("*.flac")}
    labels = {label.name for label in LABELS}
    truth = [POLICY.of(name if name in labels else "other") for name in sorted(scores)]
    answered = [POLICY.decide(scores[name]).label for name in sorted(scores)]
    assert content["wa"]["value"] == accuracy_score(truth, answered)
    assert content["judged"] == f"policy {rules}"
    assert (
        "does better on the recordings that it was fitted to" in (report / "report.md").read_text()
    )
    capsys.readouterr()
    least = content["wa"]["value"] + 0.01
    assert main([*common, "--fail-under", f"wa={least}"]) == 1
    assert f"wa is {content['wa']['value']:.3f}, under {least:g}" in capsys.readouterr().err


def test_evaluate_lists_what_failed_and_measures_the_rest(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noise.wav").write_bytes(b"this is no audio")
    lines = [f"{REAL / 'happy.flac'},joy", "noise.wav,sadness", "gone.wav,fear"]
    (tmp_path / "all.csv").write_text("\n".join(["file,label", *lines]))
    report = tmp_path / "report"
    assert main(["evaluate", str(tmp_path / "all.csv"), "--url", url, "-o", str(report)]) == 1
    errors = capsys.readouterr().err
    content = json.loads((report / "report.json").read_text())
    assert content["files"] == 1
    assert [Path(name).name for name in content["failures"]] == ["noise.wav", "gone.wav"]
    assert "gone.wav: " in errors
    assert "`" + str(tmp_path / "noise.wav") in (report / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-under", "uar"], "--fail-under is 'uar': give one of uar, wa"),
        (["--fail-under", "f1=0.5"], "--fail-under is 'f1=0.5'"),
        (["--fail-under", "wa=2"], "a number from 0 to 1"),
        (["--resume"], "add -o report/"),
        (["--policy", "p.json", "--head", "h.json"], "give --head or --policy"),
        (["--label-map", "none.json"], "cannot use none.json"),
    ],
)
def test_evaluate_refuses_wrong_usage_at_once(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(REAL / "labels.csv")
    assert main(["evaluate", table, "--url", "127.0.0.1:9", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_calibrate_writes_a_policy_that_the_service_takes(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for copy in range(2):
        for path in REAL.glob("*.flac"):
            folder = tmp_path / "corpus" / path.stem
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{copy}.flac").write_bytes(path.read_bytes())
    target = tmp_path / "policy.json"
    arguments = ["calibrate", str(tmp_path / "corpus"), "-o", str(target), "--url", url]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    policy = Policy.load(target)
    assert f"temperature {policy.temperature:.3f}" in printed
    assert "without regard to speakers" in printed
    assert policy.validation["files"] == 14
    with Client(url, policy=policy) as judged:
        found = judged.predict(HAPPY)
        assert found.policy == policy.decide(found.scores)
