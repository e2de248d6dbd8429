"""The page in front of a gateway that keeps nothing, or no audio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.test_page_timeline import STORY, choose, open_tab, rows, start
from tests.integration.visits import PATIENCE, WIDE, Browsing, Visit


@pytest.fixture(scope="module")
def nothing_kept(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs"), E2V_KEEP_RESULTS="0") as running:
        yield running


@pytest.fixture(scope="module")
def no_audio_kept(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs"), E2V_KEEP_AUDIO="false") as running:
        yield running


def recognise_frames(visit: Visit) -> None:
    visit.choose(SAMPLES / "happy.wav")
    visit.page.get_by_label("Frame:", exact=False).check()
    frames = visit.recognise().locator("emotion-frames")
    expect(frames.locator("polygon")).to_have_count(9)
    # The visitor's own file can be heard.
    audio = frames.locator("audio")
    expect(audio).to_be_visible()
    frames.locator(".e2v-plot").click(position={"x": 200, "y": 100})
    visit.page.wait_for_function("audio => audio.currentTime > 0", arg=audio.element_handle())


def test_a_result_that_is_not_kept_is_shown_and_heard(
    browsing: Browsing, nothing_kept: Gateway
) -> None:
    visit = Visit(browsing, nothing_kept, "en-US", WIDE)
    expect(visit.page.get_by_label("Also save the embedding", exact=False)).to_be_hidden()
    recognise_frames(visit)
    expect(visit.panel.locator(".e2v-downloads")).to_have_count(0)
    expect(visit.panel).not_to_contain_text("Saved in")
    expect(visit.page.get_by_text("Latest results")).to_be_hidden()
    assert not list(nothing_kept.outputs.iterdir())
    visit.page.locator("a.e2v-switch").click()
    expect(visit.panel).to_contain_text("请先选择或录制")
    expect(visit.page.get_by_role("alert")).to_have_count(0)
    visit.close()


def test_a_timeline_that_is_not_kept_is_shown(browsing: Browsing, nothing_kept: Gateway) -> None:
    visit = Visit(browsing, nothing_kept, "en-US", WIDE)
    tab = open_tab(visit)
    expect(tab.get_by_text("Also save the embeddings")).to_have_count(0)
    choose(tab, STORY, window=2)
    start(tab)
    expect(rows(tab)).to_have_count(7, timeout=PATIENCE)
    expect(tab.locator(".e2v-downloads a")).to_have_count(0)
    expect(tab.locator("audio")).to_be_visible()
    visit.page.locator("a.e2v-switch").click()
    expect(rows(tab)).to_have_count(7, timeout=PATIENCE)
    assert not list(nothing_kept.outputs.iterdir())
    visit.close()


def test_without_its_audio_a_result_is_kept_and_offered(
    browsing: Browsing, no_audio_kept: Gateway
) -> None:
    visit = Visit(browsing, no_audio_kept, "en-US", WIDE)
    recognise_frames(visit)
    expect(visit.panel.get_by_text("Audio as the model heard it")).to_have_count(0)
    expect(visit.panel.get_by_text("Result (JSON)")).to_be_visible()
    visit.page.locator("a.e2v-switch").click()
    frames = visit.page.locator("emotion-frames")
    expect(frames.locator("polygon")).to_have_count(9)
    expect(frames.locator("audio")).to_be_hidden()
    # The arrow keys need no sound.
    frames.locator(".e2v-plot").focus()
    visit.page.keyboard.press("ArrowUp")
    expect(frames.locator(".e2v-here")).to_contain_text("1.00 秒")
    visit.close()
