"""The page's tab for several files, in a real browser, in front of the real Triton."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, expect

from emotion2vec_client import LABELS
from gateway.page.language import TEXTS
from gateway.page.text import Language
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.page.visits import PHONE, Browsing, Visit

CLIPS = [SAMPLES / name for name in ("happy.wav", "sad.mp3", "angry.flac", "mandarin.ogg")]
API = "**/api/predict/"
NAMES = {label.name: label.chinese for label in LABELS}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / 'no "audio", words.mp3'
    path.write_bytes(b"not audio at all")
    return path


def open_tab(visit: Visit, language: Language = "en") -> Locator:
    visit.page.get_by_role("tab", name=TEXTS[language].batch_tab).click()
    return visit.page.locator("emotion-batch")


def choose(tab: Locator, *paths: Path) -> None:
    tab.locator("input[type=file]").set_input_files([str(path) for path in paths])


def table(visit: Visit, tab: Locator) -> list[dict[str, str]]:
    """The rows of the CSV file that the page makes, read as a spreadsheet reads them."""
    with visit.page.expect_download() as download:
        tab.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def tab(visited: Visit) -> Iterator[Locator]:
    """The tab without files; most tests share one open page."""
    visited.come_to_front()
    tab = visited.page.locator("emotion-batch")
    for word in ("Stop", "Clear the list"):
        control = tab.get_by_role("button", name=word)
        if control.is_visible():
            control.click()
    expect(tab.locator("tbody tr")).to_have_count(0)
    yield tab
    visited.page.unroute_all()


@pytest.fixture(scope="module")
def visited(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    with browsing.visit(gateway, size=PHONE) as visitor:
        open_tab(visitor)
        yield visitor


def test_many_files_become_a_table(
    visited: Visit, tab: Locator, gateway: Gateway, words: Path
) -> None:
    choose(tab, *CLIPS, words)
    expect(tab.get_by_role("status")).to_have_text("4 of 5 recognised · 1 not recognised")
    # It fits on a phone.
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert tab.locator(".e2v-table").evaluate("box => box.scrollWidth <= box.clientWidth")
    lines = table(visited, tab)
    assert [line["file"] for line in lines] == [path.name for path in (*CLIPS, words)]
    for row, line, path in zip(tab.locator("tbody tr").all(), lines, CLIPS, strict=False):
        answer = gateway.predict(path).json()
        label = next(label for label in LABELS if label.name == answer["emotion"])
        expect(row).to_contain_text(f"{label.emoji} {label.name}")
        expect(row).to_contain_text(f"{100 * answer['confidence']:.1f} %")
        expect(row).to_contain_text(f"{answer['duration']:.1f} s")
        scores = {name: float(line[name]) for name in NAMES}
        assert scores == pytest.approx(answer["scores"], abs=1e-6)
        assert line["problem"] == ""
    problem = "This is not an audio file that can be read. Use WAV, MP3, M4A, FLAC or OGG."
    expect(tab.locator("tbody tr").last).to_contain_text(problem)
    assert lines[-1]["problem"] == problem
    assert lines[-1]["happy"] == ""


def test_it_speaks_chinese_too(chinese_visit: Visit, gateway: Gateway, words: Path) -> None:
    tab = open_tab(chinese_visit, "zh")
    choose(tab, CLIPS[0], words)
    expect(tab.get_by_role("status")).to_have_text("已识别 1 / 2 个 · 1 个识别失败")
    expect(tab.locator("tbody tr").first).to_contain_text(
        NAMES[gateway.predict(CLIPS[0]).json()["emotion"]]
    )
    expect(tab.locator("tbody tr").last).to_contain_text("无法将此文件识别为音频")
    expect(tab).not_to_contain_text("b'")


def test_files_can_be_dropped(visited: Visit, tab: Locator) -> None:
    transfer = visited.page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            for (const name of ["a.wav", "b.wav"]) transfer.items.add(new File(["x"], name));
            return transfer;
        }"""
    )
    tab.locator(".e2v-drop").dispatch_event("drop", {"dataTransfer": transfer})
    expect(tab.get_by_role("status")).to_contain_text("2 not recognised")


def test_a_server_without_room_is_asked_again_when_it_says(visited: Visit, tab: Locator) -> None:
    has_room = False

    def refuse(route: Route) -> None:
        if has_room:
            route.continue_()
            return
        problem = {"code": "overloaded", "detail": "no room at grpc://127.0.0.1"}
        route.fulfill(status=429, headers={"Retry-After": "1"}, body=json.dumps(problem))

    visited.page.route(API, refuse)
    choose(tab, CLIPS[0])
    expect(tab.get_by_role("status")).to_contain_text("the server is busy")
    has_room = True
    expect(tab.get_by_role("status")).to_have_text("1 of 1 recognised")


def test_few_are_on_their_way_at_once_and_all_can_be_stopped(visited: Visit, tab: Locator) -> None:
    held: list[Route] = []
    visited.page.route(API, lambda route: held.append(route))
    choose(tab, *CLIPS, *CLIPS)
    expect(tab.locator("tbody tr").filter(has_text="recognising")).to_have_count(4)
    expect(tab.locator("tbody tr").filter(has_text="waiting")).to_have_count(4)
    # The browser's requests arrive here some time after the page shows them.
    while len(held) < 4:
        visited.page.wait_for_timeout(10)
    assert len(held) == 4
    tab.get_by_role("button", name="Stop").focus()
    visited.page.keyboard.press("Enter")
    expect(tab.locator("tbody tr").filter(has_text="stopped")).to_have_count(8)
    # The user can continue after stopping, with the keyboard too.
    visited.page.unroute(API)
    expect(tab.get_by_role("button", name="Try the rest again")).to_be_focused()
    visited.page.keyboard.press("Enter")
    expect(tab.get_by_role("status")).to_have_text("8 of 8 recognised")
    assert len(table(visited, tab)) == 8


def test_a_file_that_failed_can_be_tried_again(visited: Visit, tab: Locator) -> None:
    visited.page.route(API, lambda route: route.abort())
    choose(tab, CLIPS[0])
    row = tab.locator("tbody tr")
    expect(row).to_contain_text("The server cannot be reached")
    visited.page.unroute(API)
    row.get_by_role("button", name="Try again: happy.wav").click()
    expect(tab.get_by_role("status")).to_have_text("1 of 1 recognised")
