"""The page's tab for long recordings, in a real browser, in front of the real Triton."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Locator, expect

from audio.layout import SAMPLE_RATE
from emotion2vec_client import LABELS, Client, Timeline
from tests.conftest import SAMPLES, speech_like
from tests.integration.gateways import Gateway, wav
from tests.integration.page.conftest import speech
from tests.integration.page.visits import Browsing, Visit

STORY = SAMPLES / "story.ogg"
TABS = {"en": "Long recording", "zh": "长录音"}
NAMES = {label.name: label.chinese for label in LABELS}


@pytest.fixture
def timeline(client: Client) -> Timeline:
    found = client.timeline(STORY, segmentation="fixed", window=2)
    assert len(found.segments) == 7
    return found


def open_tab(visit: Visit, language: str = "en") -> Locator:
    visit.page.get_by_role("tab", name=TABS[language]).click()
    return visit.page.locator("emotion-timeline")


def choose(tab: Locator, path: Path, window: float | None = None) -> None:
    tab.locator("input[type=file]").set_input_files(str(path))
    if window is not None:
        tab.locator("select[name=segmentation]").select_option("fixed")
        tab.locator("input[name=window]").fill(str(window))
        tab.locator("input[name=hop]").fill(str(window))


def start(tab: Locator) -> None:
    tab.locator(".e2v-primary").click()


def rows(tab: Locator) -> Locator:
    return tab.locator("tbody tr")


def test_a_recording_is_drawn_heard_and_listed(visit: Visit, timeline: Timeline) -> None:
    tab = open_tab(visit)
    choose(tab, STORY, window=2)
    start(tab)
    expect(rows(tab)).to_have_count(len(timeline.segments))
    assert timeline.summary is not None
    expect(tab.locator(".e2v-emotion")).to_contain_text(timeline.summary.emotion)
    expect(tab.locator("canvas").first).to_be_visible()
    expect(tab.locator(".e2v-river path")).to_have_count(9)
    for row, segment in zip(rows(tab).all(), timeline.segments, strict=True):
        expect(row).to_contain_text(segment.emotion)
        expect(row).to_contain_text(f"{100 * segment.confidence:.1f} %")

    # A click on a segment in the plot plays it, and marks it in the list.
    plot = tab.locator(".e2v-plot")
    box = plot.bounding_box()
    assert box
    plot.click(position={"x": box["width"] * 5 / timeline.duration, "y": 120})
    audio = tab.locator("audio")
    visit.page.wait_for_function("audio => audio.currentTime > 4", arg=audio.element_handle())
    assert 4 <= audio.evaluate("audio => audio.currentTime") < 6
    expect(tab.locator(".e2v-heard")).to_contain_text("0:04.0")
    # Playback ends with the segment.
    visit.page.wait_for_function("audio => audio.paused", arg=audio.element_handle())
    assert audio.evaluate("audio => audio.currentTime") == pytest.approx(6, abs=0.3)
    # A row of the list and the keyboard do the same.
    rows(tab).nth(1).get_by_role("button").click()
    visit.page.wait_for_function("audio => audio.currentTime < 4", arg=audio.element_handle())
    expect(tab.locator(".e2v-heard")).to_contain_text("0:02.0")
    plot.focus()
    visit.page.keyboard.press("ArrowLeft")
    expect(tab.locator(".e2v-heard")).to_contain_text("0:00.0")

    with visit.page.expect_download() as download:
        tab.get_by_text("Table (CSV)").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        assert [row["emotion"] for row in csv.DictReader(file)] == [
            segment.emotion for segment in timeline.segments
        ]


def test_the_other_language_and_a_reload_keep_it(visit: Visit, timeline: Timeline) -> None:
    tab = open_tab(visit)
    choose(tab, STORY, window=2)
    start(tab)
    expect(rows(tab)).to_have_count(7)
    visit.page.locator("a.e2v-switch").click()
    expect(rows(tab)).to_have_count(7)
    expect(rows(tab).first).to_contain_text(NAMES[timeline.segments[0].emotion])
    expect(tab).to_contain_text("服务器不保存录音")
    # Choosing the same file restores the sound.
    choose(tab, STORY)
    expect(tab.locator("audio")).to_be_visible()
    visit.page.reload()
    expect(rows(tab)).to_have_count(7)


def test_it_shows_how_far_it_is_and_can_be_cancelled(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav(speech_like(150 * 16_000)))
    tab = open_tab(visit)
    choose(tab, path, window=0.25)
    start(tab)
    expect(tab.get_by_role("status").first).to_contain_text("Recognising")
    expect(tab.locator("progress")).to_be_visible()
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.get_by_role("alert")).to_contain_text("Cancelled")
    # The user can continue.
    choose(tab, STORY, window=4)
    start(tab)
    expect(rows(tab)).to_have_count(4)


@pytest.mark.parametrize(
    ("locale", "language", "sentences"),
    [
        ("en-US", "en", ("Choose a recording first", "not an audio file", "The model is starting")),
        ("zh-CN", "zh", ("请先选择", "无法将此文件识别为音频", "模型正在启动")),
    ],
)
def test_mistakes_are_explained_and_of_the_server_only_what_helps(
    browsing: Browsing,
    gateway: Gateway,
    tmp_path: Path,
    locale: str,
    language: str,
    sentences: tuple[str, ...],
) -> None:
    path = tmp_path / "words.mp3"
    path.write_bytes(b"these are words")
    detail = "no emotion2vec-triton server is ready at grpc://127.0.0.1:8001: use 'make run'"
    body = json.dumps({"code": "not_ready", "detail": detail})
    with browsing.visit(gateway, locale) as visit:
        tab = open_tab(visit, language)
        alert = tab.get_by_role("alert")
        start(tab)
        expect(alert).to_contain_text(sentences[0])
        choose(tab, path)
        start(tab)
        expect(alert).to_contain_text(sentences[1])
        visit.page.route("**/api/timeline/", lambda route: route.fulfill(status=503, body=body))
        start(tab)
        expect(alert).to_contain_text(sentences[2])
        expect(alert).not_to_contain_text("grpc")


@pytest.mark.parametrize(
    ("locale", "language", "names"),
    [("en-US", "en", "agent,caller"), ("zh-CN", "zh", "左声道,右声道")],
)
def test_each_speaker_has_a_river_and_a_line(
    browsing: Browsing, gateway: Gateway, locale: str, language: str, names: str, tmp_path: Path
) -> None:
    voices = [speech(name) for name in ("sad.mp3", "happy.wav")]
    both = np.zeros((len(voices[0]) + len(voices[1]), 2), np.float32)
    both[: len(voices[0]), 0] = voices[0]
    both[-len(voices[1]) :, 1] = voices[1]
    soundfile.write(tmp_path / "call.wav", both, SAMPLE_RATE)
    with browsing.visit(gateway, locale) as visit:
        tab = open_tab(visit, language)
        choose(tab, tmp_path / "call.wav")
        tab.locator("select[name=speakers]").select_option("separate")
        if language == "en":
            tab.locator("input[name=names]").fill("agent, caller")
        start(tab)
        expect(tab.locator(".e2v-river path")).to_have_count(18)
        expect(tab.locator(".e2v-lane")).to_have_text(names.split(","))
        lines = tab.locator(".e2v-speaker strong")
        expect(lines).to_have_text(names.split(","))
        who = [row.locator("td").first.inner_text() for row in rows(tab).all()]
        assert set(who) == set(names.split(","))
        # The mark of a segment is in the lane of its speaker, in which a click plays it.
        rows(tab).last.locator("button").click()
        expect(tab.locator(".e2v-mark")).to_be_visible()
        mark = tab.locator(".e2v-mark").bounding_box()
        lane = tab.locator(".e2v-lane").last.bounding_box()
        assert mark
        assert lane
        assert mark["y"] == pytest.approx(lane["y"], abs=3)
