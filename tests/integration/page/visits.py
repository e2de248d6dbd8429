"""Visits to the page in a real browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Error, Locator, Page, Request, expect

from tests.integration.gateways import Gateway

PATIENCE = 120_000
"""Milliseconds that a busy machine may take for anything."""

PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 1000}


class Browsing:
    """A browser, and the pages that earlier visitors have left.

    All visitors share its cache. Reopening a page takes a third of the time of a new one, because
    its scripts are loaded.
    """

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._free: list[Page] = []

    @contextmanager
    def visit(
        self,
        gateway: Gateway,
        language: str = "en-US",
        size: dict[str, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
    ) -> Iterator[Visit]:
        """A visitor with a fresh page; checks at the end that nothing went wrong in it."""
        page = self._free.pop() if self._free else self._context.new_page()
        # The header decides the language of the page, and its scripts follow it.
        page.set_extra_http_headers({"Accept-Language": language})
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme, reduced_motion="null")
        page.set_default_timeout(PATIENCE)
        visitor = Visit(page, gateway)
        try:
            visitor.open()
            yield visitor
            visitor.check()
        finally:
            visitor.leave()
        self._free.append(page)


class Visit:
    """A visitor: a page, its requests, and its errors."""

    def __init__(self, page: Page, gateway: Gateway) -> None:
        self.page = page
        self.gateway = gateway
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.button = page.locator("#e2v-recognise")
        self.panel = page.locator("#e2v-panel")

    def open(self) -> None:
        """Loads the page."""
        self.page.on("request", self._note_request)
        self.page.on("pageerror", self._note_error)
        self.come_to_front()
        self.page.goto(self.gateway.url)
        expect(self.button).to_be_visible()

    def come_to_front(self) -> None:
        """Brings the page to the front: a browser draws hidden pages at most once a second."""
        self.page.bring_to_front()

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _note_error(self, error: Error) -> None:
        self.errors.append(str(error))

    def choose(self, file: Path) -> None:
        """Chooses a file with the file picker."""
        self.clear()
        self.page.set_input_files("#e2v-audio input[type=file]", str(file))
        self.loaded()

    def drop(self, file: Path) -> None:
        """Drops a recording onto the drop zone."""
        self.put(file, f"audio/{file.suffix[1:]}")
        self.loaded()

    def put(self, file: Path, kind: str) -> None:
        """Drops any file onto the drop zone; ``kind`` is its MIME type."""
        self.clear()
        transfer = self.page.evaluate_handle(
            """([name, text, type]) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, { type }));
                return transfer;
            }""",
            [file.name, base64.b64encode(file.read_bytes()).decode(), kind],
        )
        zone = self.page.locator("#e2v-audio input[type=file]").locator("xpath=..")
        zone.dispatch_event("drop", {"dataTransfer": transfer})

    def clear(self) -> None:
        """Removes the current file, if there is one."""
        labels = ("Clear", "清除")
        buttons = [f"#e2v-audio button[aria-label='{label}']" for label in labels]
        clear = self.page.locator(", ".join(buttons))
        if clear.count():
            clear.click()

    def loaded(self) -> None:
        """Waits until the player has a file."""
        expect(self.page.locator("#e2v-audio #waveform, #e2v-audio audio").first).to_be_attached()

    def recognise(self) -> Locator:
        """Presses the button; returns the new result."""
        old = "document.querySelector('.e2v-result')?.setAttribute('data-old', '')"
        self.page.evaluate(old)
        self.button.click()
        new = self.page.locator(".e2v-result:not([data-old])")
        expect(new).to_be_visible()
        return new

    def check(self) -> None:
        """Checks that no script failed, and that no request went to another machine."""
        assert not self.errors
        own = urlsplit(self.gateway.url).netloc
        foreign = [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != own
        ]
        assert len(self.requests) > 10
        assert not foreign

    def leave(self) -> None:
        """Removes all state before the next visitor."""
        self.page.remove_listener("request", self._note_request)
        self.page.remove_listener("pageerror", self._note_error)
        self.page.unroute_all()
        self.page.context.clear_permissions()
        self.page.evaluate("localStorage.clear()")
        self.page.goto("about:blank")
