"""A gateway in front of the tiny model, and a browser that visits it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import sync_playwright

from tests.integration.gateways import Gateway
from tests.integration.visits import WIDE, Browsing, Visit


@pytest.fixture(scope="session")
def gateway(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs")) as running:
        yield running


@pytest.fixture(scope="session")
def browsing() -> Iterator[Browsing]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "the tests of the page need a browser: install Debian's package chromium"
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--autoplay-policy=no-user-gesture-required",
            # A microphone that beeps.
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
        ]
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield Browsing(launched)
        launched.close()


@pytest.fixture
def visit(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    visitor = Visit(browsing, gateway, "en-US", WIDE)
    yield visitor
    visitor.close()


@pytest.fixture
def chinese_visit(browsing: Browsing, gateway: Gateway) -> Iterator[Visit]:
    visitor = Visit(browsing, gateway, "zh-CN", WIDE)
    yield visitor
    visitor.close()
