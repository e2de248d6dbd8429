"""Fixtures: a browser, and visitors of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.integration.gateways import Gateway
from tests.integration.page.visits import PATIENCE, Browsing, Visit


@pytest.fixture(scope="package")
def browsing() -> Iterator[Browsing]:
    """A browser that ends with this folder's tests: Playwright's event loop excludes all others."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "the tests of the page need a browser: install Debian's package chromium"
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--autoplay-policy=no-user-gesture-required",
            # This fakes a microphone that beeps.
            "--use-fake-device-for-media-stream",
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
