"""Puts Gradio's own texts into the language of the page instead of the browser's."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.page.chinese import CHINESE
from gateway.page.english import ENGLISH
from gateway.page.text import Language, Text

TEXTS: dict[Language, Text] = {"en": ENGLISH, "zh": CHINESE}

# These come before Gradio's scripts, so that Gradio uses the language of the page.
SCRIPTS = """<head>
<script>
Object.defineProperty(navigator, "language", {{ get: () => "{language}" }});
Object.defineProperty(navigator, "languages", {{ get: () => ["{language}"] }});
</script>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml" />
<script src="/page/switch.js" defer></script>
<script src="/page/radios.js" defer></script>
<script src="/page/clip.js" defer></script>
<script src="/page/frames.js" type="module"></script>
<script src="/page/timeline.js" type="module"></script>
<script src="/page/batch.js" type="module"></script>
<script src="/page/live.js" type="module"></script>"""


class Localised:
    """Sets the language of /en/ and /zh/, and adds the page's scripts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages = {f"/{key}/": text.html_language for key, text in TEXTS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        language = self._pages.get(scope.get("path", ""))
        if scope["type"] != "http" or scope["method"] != "GET" or language is None:
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            html = body.decode()
            html = html.replace('lang="en"', f'lang="{language}"', 1)
            html = html.replace("<head>", SCRIPTS.format(language=language), 1)
            MutableHeaders(scope=start)["content-length"] = str(len(html.encode()))
            await send(start)
            await send({"type": "http.response.body", "body": html.encode()})

        await self._app(scope, receive, collect)
