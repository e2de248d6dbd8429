"""Maps of embeddings: the positions, and the page and image that show them."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from emotion2vec_client.analysis import AnalysisError, MissingPackageError
from emotion2vec_client.analysis.plots import Point, colours, write_html, write_png
from emotion2vec_client.analysis.projection import perplexity, project
from emotion2vec_client.labels import LABELS
from tests.unit.blobs import DIM, blobs


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
    # The src above is inside a string of the script, which hostile names cannot end.
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
    # A tall cloud of points is rotated to fill a wide page.
    places = np.array([[0, 0], [0, 4], [2.0, 4]])
    write_html(page, places, points(), "title")
    text = page.read_text(encoding="utf-8")
    found = np.array(re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', text), dtype=float)
    [(width, height)] = re.findall(r'viewBox="0 0 (\d+) (\d+)"', text)
    assert (found >= 0).all()
    assert (found <= [int(width), int(height)]).all()
    drawn, true = (np.linalg.norm(each - np.roll(each, 1, 0), axis=1) for each in (found, places))
    np.testing.assert_allclose(drawn / drawn[0], true / true[0], atol=1e-3)
    across, down = np.ptp(found, axis=0)
    assert across > 2 * down


def test_the_picture_is_a_png_of_any_names(tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    named = [Point("开心 $x$ [b].wav", "happy", 1.0), *points()]
    write_png(picture, np.arange(8.0).reshape(4, 2), named, "$title", ["note"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_category_has_its_own_colour() -> None:
    names = [label.name for label in LABELS] + [f"label {number}" for number in range(12)]
    assert len(set(colours(names).values())) == len(names)
    assert colours(["sad"])["sad"] == colours(names)["sad"]
