"""Visitors of the page, with a real browser."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.integration.gateways import Gateway

PATIENCE = 30_000
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 1000}


class Browsing:
    """A browser whose visitors of one language share its cache, in which the page's scripts are."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: dict[str, BrowserContext] = {}

    def context(self, locale: str) -> BrowserContext:
        """What the visitors of a language share."""
        if locale not in self._contexts:
            self._contexts[locale] = self._browser.new_context(locale=locale)
        return self._contexts[locale]


class Visit:
    """A visitor: a page, what it asked for, and what went wrong in it."""

    def __init__(
        self,
        browsing: Browsing,
        gateway: Gateway,
        locale: str,
        size: dict[str, int],
        scheme: Literal["light", "dark"] = "light",
    ):
        self.gateway = gateway
        self.context = browsing.context(locale)
        self.page: Page = self.context.new_page()
        self.page.set_viewport_size(size)  # type: ignore[arg-type]
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(gateway.url)
        self.button = self.page.locator("#e2v-recognise")
        self.panel = self.page.locator("#e2v-panel")
        expect(self.button).to_be_visible(timeout=PATIENCE)

    def choose(self, file: Path) -> None:
        """With the file picker."""
        clear = self.page.locator("#e2v-audio button[aria-label='Clear']")
        if clear.count():
            clear.click()
        self.page.set_input_files("#e2v-audio input[type=file]", str(file))
        self.loaded()

    def drop(self, name: str, data: bytes) -> None:
        """A recording onto the drop zone."""
        self.put(name, data, f"audio/{name[-3:]}")
        self.loaded()

    def put(self, name: str, data: bytes, kind: str) -> None:
        """Any file onto the drop zone; ``kind`` is its MIME type."""
        transfer = self.page.evaluate_handle(
            """([name, text, type]) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, { type }));
                return transfer;
            }""",
            [name, base64.b64encode(data).decode(), kind],
        )
        zone = self.page.locator("#e2v-audio input[type=file]").locator("xpath=..")
        zone.dispatch_event("drop", {"dataTransfer": transfer})

    def loaded(self) -> None:
        """Waits until the player has a file."""
        expect(self.page.locator("#e2v-audio #waveform, #e2v-audio audio").first).to_be_attached()

    def recognise(self) -> Locator:
        """Presses the button; returns the new result."""
        old = "document.querySelector('.e2v-result')?.setAttribute('data-old', '')"
        self.page.evaluate(old)
        self.button.click()
        new = self.page.locator(".e2v-result:not([data-old])")
        expect(new).to_be_visible(timeout=PATIENCE)
        return new

    def close(self) -> None:
        """No script failed, and nothing was asked of any other machine."""
        self.page.evaluate("localStorage.clear()")
        self.context.clear_permissions()
        self.page.close()
        assert not self.errors
        own = urlsplit(self.gateway.url).netloc
        foreign = [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != own
        ]
        assert len(self.requests) > 10
        assert not foreign
