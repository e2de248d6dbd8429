"""The model card names the origin of the weights and their licence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from export import published
from export.card import describe, model_card
from export.checkpoint import Checkpoint, load_folder
from export.replica import random_checkpoint

LARGE = "iic/emotion2vec_plus_large"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_folder(tiny_checkpoint)


def test_the_published_files_are_recognised_wherever_they_lie(checkpoint: Checkpoint) -> None:
    config = published.FileFacts(5_552, "0" * 64)
    files = {**published.LARGE.files, "config.yaml": config}
    for source in (LARGE, "emotion2vec/emotion2vec_plus_large", "/somewhere/on/disk"):
        card = model_card(replace(checkpoint, source=source, files=files), "cpu", "fp32")
        assert (card["published"], card["differs"]) == (True, [])
        assert card["license"]["name"] == "model-license"
        assert card["size"] == 1_945_790_254
        assert card["sha256"].startswith("be501a01f26f")
        assert any("model-license, https://" in line for line in describe(card))


@pytest.mark.parametrize(
    ("name", "facts", "clause"),
    [
        ("model.pt", (1_945_790_253, "0" * 64), "1,945,790,253 bytes instead of 1,945,790,254"),
        ("model.pt", (1_945_790_254, "0" * 64), "sha256 0000.* instead of be501a01f26f"),
        ("config.yaml", (5_553, "0" * 64), "5,553 bytes instead of 5,552"),
        ("tokens.txt", (119, "0" * 64), "sha256 0000"),
    ],
)
def test_differences_from_the_published_files_are_reported(
    checkpoint: Checkpoint, name: str, facts: tuple[int, str], clause: str
) -> None:
    files = {**published.LARGE.files, name: published.FileFacts(*facts)}
    card = model_card(replace(checkpoint, source=LARGE, files=files), "cpu", "fp32")
    assert card["published"] is False
    [told] = card["differs"]
    assert told.startswith(f"{name} has ")
    assert re.search(clause, told)
    assert told in describe(card)[0]


def test_somebody_elses_weights_are_called_that(checkpoint: Checkpoint) -> None:
    card = model_card(checkpoint, "cpu", "fp32")
    assert card["published"] is False
    assert card["license"] is None
    first, last = describe(card)
    assert first.startswith("these are not the published weights")
    assert last == "licence of the weights: ask their authors"


def test_base_and_seed_have_no_known_digest(checkpoint: Checkpoint) -> None:
    named = replace(checkpoint, source="iic/emotion2vec_plus_base")
    card = model_card(named, "cpu", "fp32")
    assert card["published"] is None
    assert "not known to this project" in describe(card)[0]


def test_random_weights_have_no_origin() -> None:
    card = model_card(random_checkpoint("base"), "cpu", "fp32")
    assert (card["published"], card["license"], card["sha256"]) == (False, None, None)
    assert describe(card) == []
