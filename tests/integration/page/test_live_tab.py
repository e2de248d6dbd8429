"""The page's live tab, with a microphone that plays a recording."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from emotion2vec_client import LABELS, Client
from tests.integration.gateways import Gateway
from tests.integration.page.visits import Browsing, Visit

WORDS = {"en-US": ("Live", "Listen", "Stop"), "zh-CN": ("实时", "开始聆听", "停止")}


def open_tab(visit: Visit, locale: str = "en-US") -> tuple[Locator, Locator, Locator]:
    """The tab, and its two buttons."""
    visit.page.context.grant_permissions(["microphone"])
    name, listen, stop = WORDS[locale]
    visit.page.get_by_role("tab", name=name).click()
    tab = visit.page.locator("emotion-live")
    return tab, tab.get_by_role("button", name=listen), tab.get_by_role("button", name=stop)


@pytest.mark.parametrize("locale", list(WORDS))
def test_what_one_says_is_measured_and_kept_as_a_timeline(
    locale: str, browsing: Browsing, gateway: Gateway, client: Client, tmp_path: Path
) -> None:
    with browsing.visit(gateway, locale) as visit:
        tab, listen, stop = open_tab(visit, locale)
        listen.click()
        names = [label.name if locale == "en-US" else label.chinese for label in LABELS]
        # The first measurement, while the microphone goes on.
        expect(tab.locator(".e2v-emotion")).to_have_text(re.compile(rf"({'|'.join(names)}) \d+ %"))
        expect(stop).to_be_enabled()
        stop.click()
        expect(tab.locator("tbody tr").first).to_be_visible()
        expect(listen).to_be_enabled()
        expect(tab.locator("audio")).to_be_visible()
        files = {}
        for link in tab.locator(".e2v-downloads a").all():
            with visit.page.expect_download() as download:
                link.click()
            name = download.value.suggested_filename
            download.value.save_as(tmp_path / name)
            files[name] = tmp_path / name
        result = json.loads(files["result.json"].read_text(encoding="utf-8"))
        # The recording, recognised as a file, has the same timeline.
        timeline = client.timeline(files["recording.wav"])
        assert [(each["start"], each["end"]) for each in result["segments"]] == [
            (segment.start, segment.end) for segment in timeline.segments
        ]
        assert result["summary"]["emotion"] == timeline.summary.emotion
        assert result["duration"] == pytest.approx(timeline.duration, abs=1e-3)


def test_a_microphone_that_may_not_be_used_is_explained(visit: Visit) -> None:
    visit.page.evaluate(
        """() => {
            const refuse = () => Promise.reject(new DOMException("no"));
            navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    tab, listen, _ = open_tab(visit)
    listen.click()
    expect(tab.get_by_role("alert")).to_contain_text("Allow it for this page")
    expect(listen).to_be_enabled()


def test_a_connection_that_is_refused_is_explained(visit: Visit) -> None:
    visit.page.evaluate(
        """() => {
            window.WebSocket = class extends EventTarget {
                constructor() {
                    super();
                    setTimeout(() => this.dispatchEvent(new Event("close")));
                }
                close() {}
            };
        }"""
    )
    tab, listen, _ = open_tab(visit)
    listen.click()
    expect(tab.get_by_role("alert")).to_contain_text("server cannot be reached")
    expect(listen).to_be_enabled()
