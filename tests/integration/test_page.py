"""The page in a real browser, in front of the real Triton."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect

from emotion2vec_client import LABELS
from server.triton import OWNED_PREFIX
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.visits import PATIENCE, PHONE, WIDE, Browsing, Visit

FILES = ["happy.wav", "sad.mp3", "fearful.m4a", "angry.flac", "mandarin.ogg"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["picker", "drop"])
def test_a_file_of_each_format_is_recognised(
    visit: Visit, gateway: Gateway, name: str, way: str
) -> None:
    path = SAMPLES / name
    visit.choose(path) if way == "picker" else visit.drop(name, path.read_bytes())
    result = visit.recognise()
    expected = gateway.predict(path).json()
    label = next(label for label in LABELS if label.name == expected["emotion"])
    expect(result.locator(".e2v-emoji")).to_have_text(label.emoji)
    expect(result.locator(".e2v-emotion")).to_have_text(label.name)
    expect(result.locator(".e2v-other")).to_have_text(label.chinese)
    percent = f"{expected['confidence'] * 100:.1f} %"
    expect(result.locator(".e2v-confidence")).to_contain_text(percent)
    meters = result.get_by_role("meter").all()
    values = [float(str(meter.get_attribute("aria-valuenow"))) for meter in meters]
    assert len(values) == 9
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(100, abs=0.5)
    assert name in result.locator(".e2v-log").inner_text()


def test_the_foot_says_whose_weights_these_are(visit: Visit, chinese_visit: Visit) -> None:
    foot = visit.page.locator(".e2v-foot")
    expect(foot).to_contain_text("weights other than the published ones, fp32")
    expect(chinese_visit.page.locator(".e2v-foot")).to_contain_text("非官方发布的权重")


def test_frames_are_drawn_above_their_sound(visit: Visit) -> None:
    visit.choose(SAMPLES / "happy.wav")
    visit.page.get_by_label("Frame:", exact=False).check()
    result = visit.recognise()
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
    expect(frames.locator("polyline")).to_have_count(9)

    # The place that is clicked is the place that is heard.
    box = plot.bounding_box()
    assert box
    duration = float(str(plot.get_attribute("aria-valuemax")))
    plot.click(position={"x": box["width"] / 2, "y": 100})
    audio = frames.locator("audio")
    visit.page.wait_for_function("audio => audio.currentTime > 0", arg=audio.element_handle())
    assert audio.evaluate("audio => audio.currentTime") >= duration / 2 - 0.05
    # And with the keyboard.
    audio.evaluate("audio => audio.pause()")
    plot.focus()
    before = audio.evaluate("audio => audio.currentTime")
    visit.page.keyboard.press("ArrowLeft")
    moved = audio.evaluate("audio => audio.currentTime")
    assert moved == pytest.approx(max(before - 0.1, 0), abs=0.02)
    expect(frames.locator(".e2v-here")).to_contain_text(f"{moved:.2f} s")
    assert f"{moved:.2f} s" in str(plot.get_attribute("aria-valuetext"))


@pytest.mark.parametrize("granularity", ["Utterance", "Frame"])
def test_the_embedding_can_be_downloaded(visit: Visit, granularity: str) -> None:
    visit.choose(SAMPLES / "short.wav")
    visit.page.get_by_label(f"{granularity}:", exact=False).check()
    visit.page.get_by_label("Also save the embedding", exact=False).check()
    result = visit.recognise()
    with visit.page.expect_download() as download:
        result.get_by_text("Embedding (NumPy)").click()
    assert download.value.suggested_filename == "embedding.npy"
    embedding = np.load(download.value.path())
    frames = (18_218 - 400) // 320 + 1
    assert embedding.shape == ((64,) if granularity == "Utterance" else (frames, 64))
    with visit.page.expect_download() as download:
        result.get_by_text("Audio as the model heard it").click()
    assert soundfile.info(str(download.value.path())).samplerate == 16_000


def test_everything_is_there_in_chinese(chinese_visit: Visit) -> None:
    page = chinese_visit.page
    assert urlsplit(page.url).path == "/zh/"
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    # Gradio's own words too.
    expect(page.locator("#e2v-audio")).to_contain_text("点击上传")
    expect(chinese_visit.button).to_have_text("🎯 开始识别")
    chinese_visit.choose(SAMPLES / "happy.wav")
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
    visit.choose(SAMPLES / "happy.wav")
    visit.recognise()
    visit.choose(SAMPLES / "sad.mp3")
    folder = visit.recognise().get_attribute("data-folder")
    visit.page.locator("a.e2v-switch").click()
    result = visit.page.locator(".e2v-result")
    expect(result).to_have_attribute("data-folder", str(folder))
    expect(result).to_contain_text("置信度")
    visit.page.get_by_label("happy.wav", exact=False).check()
    expect(visit.page.locator(".e2v-log")).to_contain_text("happy.wav")


def silence(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(seconds * 16_000)), 16_000, format="WAV")
    return file.getvalue()


def test_a_mistake_is_explained_where_one_looks(chinese_visit: Visit, visit: Visit) -> None:
    for visitor, sentence in ((visit, "Choose or record"), (chinese_visit, "请先选择")):
        visitor.button.click()
        expect(visitor.panel.get_by_role("alert")).to_contain_text(sentence)
    for visitor, sentence in (
        (visit, "use the tab “Long recording”"),
        (chinese_visit, "使用“长录音”标签页"),
    ):
        visitor.drop("long.wav", silence(40))
        visitor.button.click()
        expect(visitor.panel.get_by_role("alert")).to_contain_text(sentence, timeout=PATIENCE)
    # And one can go on.
    visit.choose(SAMPLES / "happy.wav")
    visit.recognise()


@pytest.mark.parametrize("way", ["picker", "drop"])
def test_a_file_of_another_kind_is_refused_in_the_pages_words(
    chinese_visit: Visit, visit: Visit, tmp_path: Path, way: str
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("no sound")
    for visitor, sentence in ((visit, "not an audio file"), (chinese_visit, "无法将此文件识别")):
        # An older sentence goes.
        visitor.button.click()
        expect(visitor.panel.get_by_role("alert")).to_be_visible()
        if way == "picker":
            visitor.page.set_input_files("#e2v-audio input[type=file]", words)
        else:
            visitor.put("words.txt", b"no sound", "text/plain")
        expect(visitor.panel.get_by_role("alert")).to_contain_text(sentence)
        expect(visitor.panel.get_by_role("alert")).to_have_count(1)
        expect(visitor.page.locator(".toast-wrap")).not_to_contain_text("Only")
        # And one can go on.
        visitor.drop("happy.wav", (SAMPLES / "happy.wav").read_bytes())
        visitor.recognise()


def test_a_file_of_more_than_ten_megabytes_is_explained_too(visit: Visit) -> None:
    visit.drop("large.wav", silence(340))
    visit.button.click()
    expect(visit.panel.get_by_role("alert")).to_contain_text("larger than 10 MB", timeout=PATIENCE)


def test_an_upload_that_is_too_old_is_asked_for_again(visit: Visit, gateway: Gateway) -> None:
    visit.choose(SAMPLES / "happy.wav")
    visit.recognise()
    folders = Path(tempfile.gettempdir()).glob(OWNED_PREFIX.format(pid=gateway.process.pid) + "*")
    [upload] = [path for folder in folders for path in folder.rglob("happy.wav")]
    upload.unlink()
    visit.button.click()
    expect(visit.panel.get_by_role("alert")).to_contain_text("Choose or record it again")
    visit.choose(SAMPLES / "happy.wav")
    visit.recognise()


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_an_example_is_one_click_away_and_can_be_heard(
    browsing: Browsing, gateway: Gateway, language: str
) -> None:
    visitor = Visit(browsing, gateway, language, WIDE)
    with visitor.page.expect_response(lambda answer: "file=" in answer.url) as sound:
        visitor.page.get_by_text("angry.flac").click()
    assert sound.value.ok, sound.value.url
    visitor.loaded()
    result = visitor.recognise()
    expect(result.locator(".e2v-log")).to_contain_text("angry.flac")
    visitor.close()


def test_it_fits_a_phone(browsing: Browsing, gateway: Gateway) -> None:
    visitor = Visit(browsing, gateway, "en-US", PHONE)
    visitor.choose(SAMPLES / "happy.wav")
    visitor.page.get_by_label("Frame:", exact=False).check()
    result = visitor.recognise()
    # It comes below the form, and into view.
    expect(result.locator(".e2v-top")).to_be_in_viewport()
    expect(result.locator("polygon")).to_have_count(9)
    width = visitor.page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    visitor.close()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_motion_is_for_those_who_like_it(
    browsing: Browsing, gateway: Gateway, motion: Literal["reduce", "no-preference"]
) -> None:
    visitor = Visit(browsing, gateway, "en-US", PHONE)
    visitor.page.emulate_media(reduced_motion=motion)
    visitor.page.evaluate(
        """() => {
            Element.prototype.scrollIntoView = function (options) {
                window.e2vScrolled = [this.className, options?.behavior];
            };
        }"""
    )
    visitor.choose(SAMPLES / "happy.wav")
    visitor.recognise()
    behavior = "instant" if motion == "reduce" else "smooth"
    visitor.page.wait_for_function("window.e2vScrolled")
    assert visitor.page.evaluate("window.e2vScrolled") == ["e2v-result", behavior]
    visitor.close()


def test_the_microphone_works(visit: Visit) -> None:
    visit.context.grant_permissions(["microphone"])
    visit.page.get_by_label("Record audio").click()
    visit.page.get_by_role("button", name="Record", exact=True).click()
    expect(visit.page.locator("#e2v-audio time.duration")).to_have_text("0:01")
    visit.page.get_by_role("button", name="Stop", exact=True).first.click()
    expect(
        visit.page.locator("#e2v-audio button[aria-label='Trim audio to selection']")
    ).to_be_visible()
    result = visit.recognise()
    expect(result.locator(".e2v-log")).to_contain_text("→ 16000 Hz")


def test_the_keyboard_is_enough(visit: Visit) -> None:
    visit.choose(SAMPLES / "happy.wav")
    visit.button.focus()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator(".e2v-result")).to_be_visible(timeout=PATIENCE)


def test_the_description_loads_nothing_from_elsewhere_either(visit: Visit) -> None:
    visit.page.goto(f"{visit.gateway.url}/docs")
    expect(visit.page.get_by_text("Recognise the emotion of one recording")).to_be_visible()


def test_uploads_are_the_gateways_own_and_go_with_it(url: str, tmp_path: Path) -> None:
    # Where another user's Gradio was first, nobody else can write; root could.
    (tmp_path / "gradio").touch()
    with Gateway(url, tmp_path / "outputs", TMPDIR=str(tmp_path)) as gateway:
        files = {"files": ("happy.wav", (SAMPLES / "happy.wav").read_bytes())}
        [path] = gateway.http.post("/en/gradio_api/upload", files=files).json()
        [folder] = tmp_path.glob(OWNED_PREFIX.format(pid=gateway.process.pid) + "*")
        assert folder in Path(path).parents
        assert Path(path).is_file()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
