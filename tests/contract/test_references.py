"""Everything that the docs refer to exists: files, headings, and tests."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCUMENTS = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "client", ROOT / "samples")
    for path in folder.glob("*.md")
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
TESTS = re.compile(r"`(tests/[\w/]+\.py)`(?: \(((?:`\w+`(?:, )?)+)\))?")


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    kept = (
        letter
        for letter in heading.lower().replace(" ", "-")
        if letter in "-_" or unicodedata.category(letter)[0] in "LN"
    )
    return "".join(kept)


def names() -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS]


@pytest.mark.parametrize("document", names())
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if fragment:
            headings = HEADING.findall(target.read_text("utf-8"))
            assert fragment in map(anchor, headings), link


@pytest.mark.parametrize("document", names())
def test_every_test_that_is_named_exists(document: Path) -> None:
    for file, quoted in TESTS.findall(document.read_text("utf-8")):
        assert (ROOT / file).is_file(), file
        defined = re.findall(r"def test_(\w+)", (ROOT / file).read_text("utf-8"))
        for words in re.findall(r"`(\w+)`", quoted):
            assert any(words in name for name in defined), f"{file} has no test of {words}"
