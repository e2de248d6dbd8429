"""The web page, once in English and once in Chinese."""

from __future__ import annotations

from gateway.page.environment import UPLOADS

# isort: split
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from gradio.routes import App
from starlette.routing import Mount

from emotion2vec_client import LABELS
from gateway.metrics import Metrics
from gateway.page.build import build
from gateway.page.language import TEXTS, Localised
from gateway.recognition import Recogniser
from gateway.settings import Settings

__all__ = ["UPLOADS", "end_streams", "mount"]

STATIC = Path(__file__).parent / "static"
EXAMPLES = STATIC.parents[2] / "samples" / "real"

QUEUE_SECONDS = 0.05
"""Seconds between two checks of Gradio's queue for clicks; Gradio's default on Windows."""

UPLOADS_TOO_LARGE = 4
"""The page accepts uploads of this many times the limit, so that it can explain the limit."""


def mount(app: FastAPI, recogniser: Recogniser, metrics: Metrics, settings: Settings) -> None:
    """Adds the page to an application: / redirects to /zh/ or /en/, as the browser prefers."""

    @app.get("/", include_in_schema=False)
    async def home(request: Request) -> RedirectResponse:
        preferred = request.headers.get("accept-language", "").strip().lower()
        return RedirectResponse("/zh/" if preferred.startswith("zh") else "/en/")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    app.mount("/page", StaticFiles(directory=STATIC))
    app.add_middleware(Localised)
    theme = gr.themes.Soft(
        font=["system-ui", "Noto Sans CJK SC", "sans-serif"], font_mono=["monospace"]
    ).set(
        # Soft's own 500 is a little too light to be read.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
    examples = sorted(EXAMPLES.glob("*.flac"))
    variables = " ".join(f"--e2v-{label.name}: {label.colour};" for label in LABELS)
    for language, text in TEXTS.items():
        blocks = build(text, recogniser, metrics, settings, examples)
        gr.mount_gradio_app(
            app,
            blocks,
            path=f"/{language}",
            # Without it, addresses in event responses, such as an example's sound, lack the path
            # and lead nowhere.
            root_path=f"/{language}",
            theme=theme,
            css=f":root {{ {variables} }}",
            css_paths=STATIC / "page.css",
            footer_links=[],
            run_history=False,
            show_error=False,
            max_file_size=settings.max_upload_bytes * UPLOADS_TOO_LARGE,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
        )
        # Otherwise it looks for clicks a thousand times a second, even if no page is open.
        queue = blocks._queue
        queue.sleep_when_free = queue.progress_update_sleep_when_free = QUEUE_SECONDS


def pages(app: FastAPI) -> list[App]:
    """Gradio's applications, one for each language."""
    return [
        route.app for route in app.routes if isinstance(route, Mount) and isinstance(route.app, App)
    ]


def end_streams(app: FastAPI) -> None:
    """Ends the stream that each open page holds.

    Otherwise the gateway would wait for it when it stops.
    """
    for page in pages(app):
        page.stop_event.set()
