"""The page as the gateway serves it, without a browser."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from fastapi import FastAPI

from emotion2vec_client import LABELS
from gateway.page import pages
from gateway.page.chinese import CHINESE
from gateway.page.english import ENGLISH
from tests.unit.test_gateway import app, ask

__all__ = ["app"]


@pytest.mark.parametrize(
    ("language", "page"), [("zh-CN,zh;q=0.9,en;q=0.8", "/zh/"), ("en-GB", "/en/"), ("", "/en/")]
)
def test_the_address_leads_to_the_language_of_the_browser(
    app: FastAPI, language: str, page: str
) -> None:
    answer = ask(app, "GET", "/", headers={"accept-language": language})
    assert answer.is_redirect
    assert answer.headers["location"] == page
    expected = CHINESE if page == "/zh/" else ENGLISH
    html = ask(app, "GET", page).text
    assert f'lang="{expected.html_language}"' in html
    assert expected.title in html


def test_the_page_has_the_colours_of_the_labels(app: FastAPI) -> None:
    html = ask(app, "GET", "/en/").text
    for label in LABELS:
        assert f"--e2v-{label.name}: {label.colour};" in html


def test_an_idle_page_uses_little_cpu_time(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio's queues poll for work only as often as a visitor needs."""
    sleep, seconds = asyncio.sleep, []

    async def noted(delay: float) -> None:
        seconds.append(delay)
        await sleep(0)

    async def idle() -> None:
        blocks: list[Any] = [page.get_blocks() for page in pages(app)]
        for each in blocks:
            each.run_startup_events()
        while len(seconds) < 100:
            await sleep(0)
        for each in blocks:
            each._queue.close()

    monkeypatch.setattr(asyncio, "sleep", noted)
    asyncio.run(idle())
    assert set(seconds) == {0.05}


def test_a_browser_keeps_what_has_its_version_in_its_name(app: FastAPI) -> None:
    [script] = re.findall(r'src="\./(assets/[^"]+)"', ask(app, "GET", "/en/").text)
    answer = ask(app, "GET", f"/en/{script}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "max-age=31536000, immutable"
    for path in ("/en/", "/page/timeline.js", "/en/assets/none.js", "/health"):
        assert "cache-control" not in ask(app, "GET", path).headers
