"""A gateway in front of the tiny model, and a browser that visits it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from playwright.sync_api import sync_playwright

from benchmarks.service import part_name
from server.triton import Triton
from tests.integration.gateways import Gateway
from tests.integration.visits import Browsing, Visit


@pytest.fixture(scope="session")
def gateway(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(url, tmp_path_factory.mktemp("outputs")) as running:
        yield running


@contextmanager
def held(triton: Triton, model: str) -> Iterator[list[psutil.Process]]:
    """The processes in which a model of the server runs; they hang until they are resumed."""
    children = psutil.Process(triton.pid).children(recursive=True)
    found = [child for child in children if part_name(child) == model]
    assert found
    for each in found:
        each.suspend()
    try:
        yield found
    finally:
        for each in found:
            each.resume()


@pytest.fixture
def decoders(triton: Triton) -> Iterator[list[psutil.Process]]:
    """What decodes clips, and hangs until it is resumed."""
    with held(triton, "preprocess") as found:
        yield found


@pytest.fixture
def timeline_model(triton: Triton) -> Iterator[psutil.Process]:
    """What makes timelines, and hangs until it is resumed."""
    with held(triton, "emotion2vec_timeline") as [found]:
        yield found


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
