"""Health, readiness, model card and metrics."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from emotion2vec_client import FRAME_HOP, ModelInfo
from emotion2vec_client.labels import LABELS
from gateway.handlers import documented
from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.recognition import Recogniser
from gateway.schema import About, Emotion, License, Limits, Status
from gateway.settings import Settings

CLIP_SECONDS = (0.025, 30.0)
"""Shortest and longest clip in seconds; the values of model_repository/preprocess/config.pbtxt."""

RECORDING_SECONDS = 7200.0
"""Longest recording in seconds; the value of model_repository/emotion2vec_timeline/config.pbtxt."""

router = APIRouter(tags=["operation"])


@router.get("/health", summary="Whether the gateway is alive")
async def health() -> Status:
    """Answers as long as the gateway runs, whatever Triton does."""
    return Status(status="ok")


@router.get("/ready", responses=documented(503), summary="Whether the models are ready")
async def ready(request: Request) -> Status:
    """Answers 200 when Triton can recognise clips, 503 until then."""
    await request.app.state.recogniser.check_ready()
    return Status(status="ok")


@router.get(
    "/info", responses=documented(502, 503, 504), summary="The model, the emotions and the limits"
)
async def info(request: Request) -> About:
    """The model that Triton serves now, the emotions, and the limits."""
    settings: Settings = request.app.state.settings
    model: ModelInfo = await request.app.state.recogniser.model_info()
    return About(
        checkpoint=model.checkpoint,
        revision=model.revision,
        weights=model.weights,
        published=model.published,
        license=License(name=model.license[0], link=model.license[1]) if model.license else None,
        precision=model.precision,
        labels=[Emotion(**asdict(label)) for label in LABELS],
        embedding_dim=model.card["embed_dim"],
        frame_hop=FRAME_HOP,
        version=request.app.version,
        limits=Limits(
            min_seconds=CLIP_SECONDS[0],
            max_seconds=CLIP_SECONDS[1],
            max_upload_bytes=settings.max_upload_bytes,
            max_files=settings.max_files,
            max_recording_seconds=RECORDING_SECONDS,
            max_recording_bytes=settings.max_recording_bytes,
        ),
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format"}},
    summary="Prometheus metrics",
)
async def metrics(request: Request) -> Response:
    """Recordings, seconds of audio, response times, requests in flight, restarts, and the model."""
    recogniser: Recogniser = request.app.state.recogniser
    # At the same time, because each takes two seconds if Triton does not answer.
    model, ready = await asyncio.gather(_model(recogniser), recogniser.is_ready())
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.render(model, ready), media_type=CONTENT_TYPE_LATEST)


async def _model(recogniser: Recogniser) -> ModelInfo | None:
    """The model that Triton serves; without one, emotion2vec_model_info is absent."""
    try:
        return await recogniser.model_info()
    except Problem:
        return None
