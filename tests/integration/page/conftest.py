"""Fixtures: a browser, and visitors of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect, sync_playwright

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from benchmarks.launch import SAMPLES
from tests.fuzz.limits import LIMITS
from tests.integration.gateways import Gateway
from tests.integration.page.visits import PATIENCE, Browsing, Visit


@pytest.fixture(scope="package")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's microphone hears: two sentences with a pause between them."""
    parts = [speech(name) for name in ("sad.mp3", "happy.wav")]
    pause = np.zeros(SAMPLE_RATE, np.float32)
    path = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(path, np.concatenate([parts[0], pause, parts[1], pause]), SAMPLE_RATE)
    return path


def speech(name: str) -> np.ndarray:
    """A sample as float32 [n] at 16 kHz."""
    return decode((SAMPLES / name).read_bytes(), LIMITS).samples


@pytest.fixture(scope="package")
def browsing(microphone: Path) -> Iterator[Browsing]:
    """A browser that ends with this folder's tests: Playwright's event loop excludes all others."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "the tests of the page need a browser: install Debian's package chromium"
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--autoplay-policy=no-user-gesture-required",
            # This fakes a microphone that plays a file again and again.
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}",
            "--use-fake-ui-for-media-stream",
        ]
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments)
        # By default 5 s, which is too short on a busy machine.
        expect.set_options(timeout=PATIENCE)
        yield Browsing(launched.new_context())
        launched.close()


@pytest.fixture
def visit(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    with browsing.visit(gateway) as visitor:
        yield visitor


@pytest.fixture
def chinese_visit(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    with browsing.visit(gateway, "zh-CN") as visitor:
        yield visitor
