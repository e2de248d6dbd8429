"""The application: routes, page and guards, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from emotion2vec_client import AsyncClient
from gateway import api, page, timeline_api
from gateway.guard import Keys, SecurityHeaders, Uploads
from gateway.metrics import Metrics
from gateway.outputs import Store
from gateway.recognition import Recogniser
from gateway.settings import Settings
from gateway.timelines import Timelines

PRUNE_SECONDS = 60.0

DESCRIPTION = (
    "Speech emotion recognition with Emotion2Vec+ on NVIDIA Triton. "
    "`curl -F audio=@happy.wav http://localhost:7860/api/predict/`"
)


def create_app(settings: Settings) -> FastAPI:
    """The gateway as an ASGI application."""
    key = settings.triton_api_key
    client = AsyncClient(
        settings.triton_url,
        timeout=settings.timeout,
        # Whoever asked is told at once, and decides when to try again.
        retry_seconds=0,
        api_key=key.get_secret_value() if key else None,
    )
    store = Store(settings.outputs, settings.keep_results, settings.keep_hours)
    recogniser = Recogniser(client, store, settings)
    metrics = Metrics()
    timelines = Timelines(client, store, settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pruning = asyncio.create_task(_prune(store))
        try:
            yield
        finally:
            pruning.cancel()
            with suppress(asyncio.CancelledError):
                await pruning
            await timelines.close()
            await client.close()
            # Here, as a signal that ends the gateway leaves no time later.
            page.UPLOADS.cleanup()

    # FastAPI's own /docs loads its scripts from elsewhere.
    app = FastAPIOffline(
        title="emotion2vec-triton",
        description=DESCRIPTION,
        version=version("emotion2vec-client"),
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.recogniser = recogniser
    app.state.metrics = metrics
    app.state.timelines = timelines
    app.include_router(api.router)
    app.include_router(timeline_api.router)
    api.add_handlers(app)
    page.mount(app, recogniser, metrics, settings)
    # The last added is the first to see a request.
    limits = {"/api/timeline": settings.max_recording_bytes, "/api/": settings.max_upload_bytes}
    app.add_middleware(Uploads, limits=limits, metrics=metrics)
    app.add_middleware(Keys, keys=settings.api_keys)
    app.add_middleware(SecurityHeaders)
    return app


async def _prune(store: Store) -> None:
    while True:
        await asyncio.to_thread(store.prune)
        await asyncio.sleep(PRUNE_SECONDS)
