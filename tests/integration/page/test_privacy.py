"""Responses and pages of gateways that keep nothing, or everything except the audio."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.page.test_timeline_tab import STORY, choose, open_tab, rows, start
from tests.integration.page.visits import Browsing, Visit

HAPPY = SAMPLES / "happy.wav"


@pytest.fixture(scope="module")
def nothing_kept(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    outputs = tmp_path_factory.mktemp("kept") / "file" / "outputs"
    outputs.parent.write_text("no folder can be made here")
    with Gateway(url, outputs, E2V_KEEP_RESULTS="0") as running:
        yield running


@pytest.fixture(scope="module")
def no_audio_kept(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs"), E2V_KEEP_AUDIO="false") as running:
        yield running


def test_nothing_is_kept_if_so_configured(nothing_kept: Gateway) -> None:
    gateway = nothing_kept
    result = gateway.predict(HAPPY, embedding="inline").json()
    assert result["emotion"] in result["scores"]
    assert len(result["embedding"]) == 64
    assert not {"output_dir", "files"} & set(result)
    job = gateway.finished(gateway.timeline(STORY, embedding="inline").json())
    assert len(job["result"]["embedding"]) == len(job["result"]["segments"])
    assert not {"output_dir", "files"} & set(job["result"])
    assert gateway.http.get(job["url"]).json() == job
    for field in ({"embedding": "file"}, {"extract_embedding": "true"}):
        for refused in (gateway.predict(HAPPY, **field), gateway.timeline(STORY, **field)):
            assert refused.status_code == 422
            assert "embedding=inline" in refused.json()["detail"]


def test_all_but_the_audio_is_kept(no_audio_kept: Gateway) -> None:
    result = no_audio_kept.predict(HAPPY, embedding="file").json()
    assert set(result["files"]) == {"result.json", "embedding.npy"}
    folder = Path(result["output_dir"])
    assert {path.name for path in folder.iterdir()} == set(result["files"])
    assert json.loads((folder / "result.json").read_text("utf-8")) == result


def recognise_frames(visit: Visit) -> None:
    visit.choose(HAPPY)
    visit.page.get_by_label("Frame:", exact=False).check()
    frames = visit.recognise().locator("emotion-frames")
    expect(frames.locator("polygon")).to_have_count(9)
    # The page plays the visitor's own file.
    audio = frames.locator("audio")
    expect(audio).to_be_visible()
    frames.locator(".e2v-plot").click(position={"x": 200, "y": 100})
    visit.page.wait_for_function("audio => audio.currentTime > 0", arg=audio.element_handle())


def test_what_is_not_kept_is_shown_and_heard(browsing: Browsing, nothing_kept: Gateway) -> None:
    with browsing.visit(nothing_kept) as visit:
        expect(visit.page.get_by_label("Also save the embedding", exact=False)).to_be_hidden()
        recognise_frames(visit)
        expect(visit.panel.locator(".e2v-downloads")).to_have_count(0)
        expect(visit.panel).not_to_contain_text("Saved in")
        expect(visit.page.get_by_text("Latest results")).to_be_hidden()

        tab = open_tab(visit)
        expect(tab.get_by_text("Also save the embeddings")).to_have_count(0)
        choose(tab, STORY, window=2)
        start(tab)
        expect(rows(tab)).to_have_count(7)
        expect(tab.locator(".e2v-downloads a")).to_have_count(0)
        expect(tab.locator("audio")).to_be_visible()

        # The gateway still holds the timeline, but nothing of the clip.
        visit.page.locator("a.e2v-switch").click()
        expect(rows(tab)).to_have_count(7)
        visit.page.get_by_role("tab").first.click()
        expect(visit.panel).to_contain_text("请先选择或录制")
        expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_without_its_audio_a_result_is_kept_and_offered(
    browsing: Browsing, no_audio_kept: Gateway
) -> None:
    with browsing.visit(no_audio_kept) as visit:
        recognise_frames(visit)
        expect(visit.panel.get_by_text("Audio as the model heard it")).to_have_count(0)
        expect(visit.panel.get_by_text("Result (JSON)")).to_be_visible()
        visit.page.locator("a.e2v-switch").click()
        frames = visit.page.locator("emotion-frames")
        expect(frames.locator("polygon")).to_have_count(9)
        expect(frames.locator("audio")).to_be_hidden()
        # The arrow keys work without audio.
        frames.locator(".e2v-plot").focus()
        visit.page.keyboard.press("ArrowUp")
        expect(frames.locator(".e2v-here")).to_contain_text("1.00 秒")
