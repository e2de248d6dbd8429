"""The application: routes, page and middleware."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from gateway import page
from gateway.guard import BrowserHeaders, Keys, Upload, Uploads
from gateway.handlers import add_handlers
from gateway.metrics import Metrics
from gateway.outputs import Store
from gateway.recognition import Recogniser, connect
from gateway.routes import operations, outputs, predict, stream, timeline
from gateway.serving import CutOff
from gateway.settings import Settings
from gateway.stream import Sessions
from gateway.timelines import Timelines
from gateway.tracing import Tracing

log = logging.getLogger(__name__)

PRUNE_SECONDS = 60.0

DESCRIPTION = (
    "Speech emotion recognition with Emotion2Vec+ on NVIDIA Triton. "
    "`curl -F audio=@happy.wav http://localhost:7860/api/predict/`"
)


def create_app(settings: Settings, restarts: int | None = None) -> FastAPI:
    """The gateway as an ASGI application.

    Args:
        settings: From the environment.
        restarts: File descriptor of the supervisor's counts, if there is a supervisor.
    """
    tracing = Tracing(settings.triton_url)
    client = connect(settings, settings.timeout, tracing.call)
    store = Store(settings.outputs, settings.keep_results, settings.keep_hours, settings.keep_audio)
    recogniser = Recogniser(client, store, settings)
    metrics = Metrics(restarts)
    timelines = Timelines(client, store, settings)
    streams = Sessions(client, metrics, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pruning = asyncio.create_task(_prune(store, timelines))
        try:
            yield
        finally:
            pruning.cancel()
            with suppress(asyncio.CancelledError):
                await pruning
            await timelines.close()
            await client.close()
            await asyncio.to_thread(tracing.close)
            # Do this here: after a signal, nothing later is sure to run.
            page.UPLOADS.cleanup()

    # FastAPI's own /docs loads its scripts from elsewhere.
    app = FastAPIOffline(
        title="emotion2vec-triton",
        description=DESCRIPTION,
        version=version("emotion2vec-client"),
        lifespan=lifespan,
        redoc_url=None,
        telemetry=tracing.fastapi,
    )
    app.state.settings = settings
    app.state.recogniser = recogniser
    app.state.metrics = metrics
    app.state.timelines = timelines
    app.state.streams = streams
    routers = [topic.router for topic in (predict, timeline, stream, outputs, operations)]
    for router in routers:
        app.include_router(router)
    add_handlers(app, [*app.routes, *(route for router in routers for route in router.routes)])
    page.mount(app, recogniser, metrics, settings)
    # The middleware that is added last sees a request first.
    app.add_middleware(CutOff)
    accepted = {
        "/api/timeline": Upload("timeline", settings.max_recording_bytes),
        "/api/": Upload("api", settings.max_upload_bytes, settings.max_files),
    }
    app.add_middleware(Uploads, accepted=accepted, metrics=metrics)
    app.add_middleware(Keys, keys=settings.api_keys)
    app.add_middleware(BrowserHeaders)
    if settings.cors_origins:
        # Before the keys, because a browser sends its preflight request without one.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key"],
            expose_headers=["Location", "Retry-After"],
        )
    return app


async def _prune(store: Store, timelines: Timelines) -> None:
    while True:
        removed = await asyncio.to_thread(store.prune)
        if removed and not store.keeps:
            log.info("removed %d results of earlier runs (E2V_KEEP_RESULTS=0)", removed)
        timelines.prune()
        await asyncio.sleep(PRUNE_SECONDS)
