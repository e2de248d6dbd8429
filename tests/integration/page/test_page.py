"""The page in a real browser, in front of the real Triton."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect

from emotion2vec_client import LABELS
from server.leftovers import OWNED_PREFIX
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.page.visits import PHONE, Browsing, Visit

HAPPY = SAMPLES / "happy.wav"
FILES = ["happy.wav", "sad.mp3", "fearful.m4a", "angry.flac", "mandarin.ogg"]


@pytest.fixture(scope="module")
def opened(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    with browsing.visit(gateway) as visitor:
        yield visitor


@pytest.fixture
def open_page(opened: Visit) -> Iterator[Visit]:
    """A page that stays open, for tests that leave behind only a file and an answer."""
    opened.come_to_front()
    yield opened
    # Leave no history to the next test.
    opened.page.evaluate("localStorage.clear()")


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_each_format_is_recognised(open_page: Visit, gateway: Gateway, name: str) -> None:
    path = SAMPLES / name
    expected = gateway.predict(path).json()
    label = next(label for label in LABELS if label.name == expected["emotion"])
    for bring in (open_page.choose, open_page.drop):
        bring(path)
        result = open_page.recognise()
        expect(result.locator(".e2v-emoji")).to_have_text(label.emoji)
        expect(result.locator(".e2v-emotion")).to_have_text(label.name)
        expect(result.locator(".e2v-other")).to_have_text(label.chinese)
        percent = f"{expected['confidence'] * 100:.1f} %"
        expect(result.locator(".e2v-confidence")).to_contain_text(percent)
        meters = result.get_by_role("meter")
        texts = meters.evaluate_all("all => all.map((each) => each.getAttribute('aria-valuenow'))")
        values = [float(text) for text in texts]
        assert len(values) == 9
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(100, abs=0.5)
        assert name in result.locator(".e2v-log").inner_text()


def test_frames_are_drawn_above_their_sound(visit: Visit) -> None:
    visit.choose(HAPPY)
    visit.page.get_by_label("Frame:", exact=False).check()
    # The keyboard is enough to start.
    visit.button.focus()
    visit.page.keyboard.press("Enter")
    result = visit.page.locator(".e2v-result")
    expect(result).to_be_visible()
    frames = result.locator("emotion-frames")
    expect(frames.locator("polygon")).to_have_count(9)
    expect(frames.locator("canvas").first).to_be_visible()
    plot = frames.locator(".e2v-plot")

    plot.hover(position={"x": 100, "y": 150})
    values = frames.locator("[part=hover-label]")
    expect(values).to_have_css("opacity", "1")
    expect(values).to_have_text(re.compile(r"^\d\.\d\d s(\n\S+ \w+ \d+\.\d %){4}$"))

    smooth = frames.locator(".e2v-chart").inner_html()
    slider = frames.locator("input[type=range]")
    slider.fill("0")
    assert frames.locator(".e2v-chart").inner_html() != smooth
    frames.locator("select").select_option("lines")
    lines = frames.locator("polyline")
    expect(lines).to_have_count(9)

    # A frame is drawn at its time: one every 20 ms.
    duration = float(str(plot.get_attribute("aria-valuemax")))
    points = str(lines.first.get_attribute("points")).split()
    across = [float(point.split(",")[0]) for point in points]
    assert len(across) - 1 == int((duration - 0.025) / 0.02) + 1
    times = [position / across[-1] * duration for position in across[:-1]]
    assert times == pytest.approx([0.02 * frame for frame in range(len(times))], abs=0.01)

    # A click on the plot plays the audio from there.
    box = plot.bounding_box()
    assert box
    plot.click(position={"x": box["width"] / 2, "y": 100})
    audio = frames.locator("audio")
    visit.page.wait_for_function("audio => audio.currentTime > 0", arg=audio.element_handle())
    assert audio.evaluate("audio => audio.currentTime") >= duration / 2 - 0.05
    # The keyboard moves it too.
    audio.evaluate("audio => audio.pause()")
    plot.focus()
    before = audio.evaluate("audio => audio.currentTime")
    visit.page.keyboard.press("ArrowLeft")
    moved = audio.evaluate("audio => audio.currentTime")
    assert moved == pytest.approx(max(before - 0.1, 0), abs=0.02)
    expect(frames.locator(".e2v-here")).to_contain_text(f"{moved:.2f} s")
    assert f"{moved:.2f} s" in str(plot.get_attribute("aria-valuetext"))


def test_the_embedding_can_be_downloaded(visit: Visit) -> None:
    visit.choose(SAMPLES / "short.wav")
    visit.page.get_by_label("Also save the embedding", exact=False).check()
    frames = (18_218 - 400) // 320 + 1
    for granularity, shape in (("Utterance", (64,)), ("Frame", (frames, 64))):
        visit.page.get_by_label(f"{granularity}:", exact=False).check()
        result = visit.recognise()
        with visit.page.expect_download() as download:
            result.get_by_text("Embedding (NumPy)").click()
        assert download.value.suggested_filename == "embedding.npy"
        assert np.load(download.value.path()).shape == shape
        with visit.page.expect_download() as download:
            result.get_by_text("Audio as the model heard it").click()
        assert soundfile.info(str(download.value.path())).samplerate == 16_000


def test_everything_is_there_in_chinese(chinese_visit: Visit) -> None:
    page = chinese_visit.page
    assert urlsplit(page.url).path == "/zh/"
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    # Gradio's own texts are translated too.
    expect(page.locator("#e2v-audio")).to_contain_text("点击上传")
    expect(chinese_visit.button).to_have_text("🎯 开始识别")
    chinese_visit.choose(HAPPY)
    page.get_by_label("逐帧", exact=False).check()
    result = chinese_visit.recognise()
    expect(result).to_contain_text("置信度")
    expect(result.locator("emotion-frames")).to_contain_text("平滑")
    expect(result.locator(".e2v-emotion")).to_have_text(
        next(
            label.chinese
            for label in LABELS
            if label.name == result.locator(".e2v-other").inner_text()
        )
    )


def test_the_language_switch_keeps_the_result_and_the_history(visit: Visit) -> None:
    visit.choose(HAPPY)
    visit.recognise()
    visit.choose(SAMPLES / "sad.mp3")
    folder = visit.recognise().get_attribute("data-folder")
    visit.page.locator("a.e2v-switch").click()
    result = visit.page.locator(".e2v-result")
    expect(result).to_have_attribute("data-folder", str(folder))
    expect(result).to_contain_text("置信度")
    visit.page.get_by_label("happy.wav", exact=False).check()
    expect(visit.page.locator(".e2v-log")).to_contain_text("happy.wav")


SENTENCES = {
    "en-US": ("not an audio file", "use the tab “Long recording”"),
    "zh-CN": ("无法将此文件识别", "使用“长录音”标签页"),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_mistakes_are_explained_where_one_looks(
    browsing: Browsing, gateway: Gateway, tmp_path: Path, language: str
) -> None:
    other_kind, too_long = SENTENCES[language]
    words, long = tmp_path / "words.txt", tmp_path / "long.wav"
    words.write_text("no sound")
    soundfile.write(long, np.zeros(31 * 16_000), 16_000)
    with browsing.visit(gateway, language) as visit:
        alert = visit.panel.get_by_role("alert")
        for refuse in (
            partial(visit.page.set_input_files, "#e2v-audio input[type=file]", words),
            partial(visit.put, words, "text/plain"),
        ):
            refuse()
            expect(alert).to_contain_text(other_kind)
            expect(alert).to_have_count(1)
            expect(visit.page.locator(".toast-wrap")).not_to_contain_text("Only")
            expect(visit.button).to_be_disabled()
        visit.drop(long)
        visit.button.click()
        expect(alert).to_contain_text(too_long)
        # The user can continue.
        visit.choose(HAPPY)
        visit.recognise()


def test_a_file_of_more_than_ten_megabytes_is_explained_too(
    open_page: Visit, tmp_path: Path
) -> None:
    large = tmp_path / "large.wav"
    soundfile.write(large, np.zeros(60 * 96_000), 96_000)
    open_page.choose(large)
    open_page.button.click()
    expect(open_page.panel.get_by_role("alert")).to_contain_text("larger than 10 MB")


def test_an_upload_that_is_too_old_is_asked_for_again(open_page: Visit, gateway: Gateway) -> None:
    open_page.choose(HAPPY)
    open_page.recognise()
    folders = Path(tempfile.gettempdir()).glob(OWNED_PREFIX.format(pid=gateway.process.pid) + "*")
    [upload] = [path for folder in folders for path in folder.rglob("happy.wav")]
    upload.unlink()
    open_page.button.click()
    expect(open_page.panel.get_by_role("alert")).to_contain_text("Choose or record it again")
    open_page.choose(HAPPY)
    open_page.recognise()


@pytest.mark.parametrize(
    ("language", "weights"),
    [("en-US", "weights other than the published ones, fp32"), ("zh-CN", "非官方发布的权重")],
)
def test_the_page_says_whose_weights_these_are_and_has_examples_to_hear(
    browsing: Browsing, gateway: Gateway, language: str, weights: str
) -> None:
    with browsing.visit(gateway, language) as visit:
        expect(visit.page.locator(".e2v-foot")).to_contain_text(weights)
        with visit.page.expect_response(lambda answer: "file=" in answer.url) as sound:
            visit.page.get_by_role("button", name="angry.flac").click()
        assert sound.value.ok, sound.value.url
        visit.loaded()
        result = visit.recognise()
        expect(result.locator(".e2v-log")).to_contain_text("angry.flac")


def test_it_fits_a_phone_and_moves_only_for_those_who_like_it(
    browsing: Browsing, gateway: Gateway
) -> None:
    with browsing.visit(gateway, size=PHONE) as visit:
        visit.page.evaluate(
            """() => {
                const scroll = Element.prototype.scrollIntoView;
                Element.prototype.scrollIntoView = function (options) {
                    window.e2vScrolled = [this.className, options?.behavior];
                    scroll.call(this, options);
                };
            }"""
        )
        visit.choose(HAPPY)
        visit.page.get_by_label("Frame:", exact=False).check()
        for motion, behavior in (("reduce", "instant"), ("no-preference", "smooth")):
            visit.page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
            visit.page.evaluate("delete window.e2vScrolled")
            result = visit.recognise()
            visit.page.wait_for_function("window.e2vScrolled")
            assert visit.page.evaluate("window.e2vScrolled") == ["e2v-result", behavior]
            # The result appears below the form and scrolls into view.
            expect(result.locator(".e2v-top")).to_be_in_viewport()
            expect(result.locator("polygon")).to_have_count(9)
            width = visit.page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE["width"]


def test_the_microphone_works(visit: Visit) -> None:
    visit.page.context.grant_permissions(["microphone"])
    visit.page.get_by_label("Record audio").click()
    visit.page.get_by_role("button", name="Record", exact=True).click()
    expect(visit.page.locator("#e2v-audio time.duration")).to_have_text("0:01")
    visit.page.get_by_role("button", name="Stop", exact=True).first.click()
    expect(
        visit.page.locator("#e2v-audio button[aria-label='Trim audio to selection']")
    ).to_be_visible()
    result = visit.recognise()
    expect(result.locator(".e2v-log")).to_contain_text("→ 16000 Hz")


def test_the_description_loads_nothing_from_elsewhere_either(visit: Visit) -> None:
    visit.page.goto(f"{visit.gateway.url}/docs")
    expect(visit.page.get_by_text("Recognise the emotion of one recording")).to_be_visible()
