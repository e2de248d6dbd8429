"""The demonstration model gives the answers that its model card states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.launch import LaunchError
from benchmarks.machine import describe
from benchmarks.target import Target
from emotion2vec_client import Client
from export import demonstration, pipeline
from export.__main__ import main
from export.errors import HubUnreachableError
from tests.conftest import ROOT, SAMPLES, serving, settings_for

REAL = SAMPLES / "real"
ROW = re.compile(r"^\| `(\w+\.flac)` \| (\w+) \| (\w+) \| ([\d.]+) % \|$", re.MULTILINE)
"""A row of the card's table of samples: file, what was spoken, what is answered, how sure."""


@pytest.fixture(scope="module")
def served(empty_repository: Callable[[], Path]) -> Iterator[Client]:
    """What `make run` serves where no hub answers."""

    def fetch(*arguments: object) -> None:
        raise HubUnreachableError("no hub answers")

    repository = empty_repository()
    arguments = [f"--model-repository={repository}", f"--verify-with={REAL}", "--precision=fp32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "fetch", fetch)
        assert main(["--if-unreachable=demonstration", *arguments]) == 0
    settings = settings_for(repository)
    with serving(settings), Client(f"127.0.0.1:{settings.grpc_port}") as client:
        yield client


def test_it_says_what_it_is_and_how_good(served: Client) -> None:
    info = served.model_info()
    assert (info.weights, info.published) == ("demonstration", False)
    assert info.license is not None
    assert info.license[0] == "CC0-1.0"
    assert info.uar == demonstration.uar()


def test_the_samples_are_recognised_as_its_card_says(served: Client) -> None:
    card = (demonstration.FOLDER / "README.md").read_text(encoding="utf-8")
    rows = ROW.findall(card)
    assert {row[0] for row in rows} == {path.name for path in REAL.glob("*.flac")}
    assert len(rows) == 7
    for file, _, answered, percent in rows:
        found = served.predict(REAL / file)
        assert (found.emotion, found.weights) == (answered, "demonstration")
        assert 100 * found.confidence == pytest.approx(float(percent), abs=0.06)
    assert all(spoken == answered for _, spoken, answered, _ in rows)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_first_screen_shows_the_figures_of_the_card(name: str) -> None:
    card = (demonstration.FOLDER / "README.md").read_text(encoding="utf-8")
    happy = next(percent for file, *_, percent in ROW.findall(card) if file == "happy.flac")
    text = (ROOT / name).read_text(encoding="utf-8")
    assert f"{100 * demonstration.uar():.0f} %" in text
    assert text.count(f"{happy} %") == 2


def test_benchmarks_refuse_to_measure_it(served: Client) -> None:
    with pytest.raises(LaunchError, match="small demonstration model"):
        describe(Target({"gRPC": served.url}))
