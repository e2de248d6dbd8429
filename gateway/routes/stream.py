"""The endpoint for streams."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, WebSocket

from gateway.stream import Sessions

PATH = "/api/stream/"

router = APIRouter()


@router.websocket(PATH[:-1])
@router.websocket(PATH)
async def stream(socket: WebSocket) -> None:
    """Emotion while someone speaks (docs/stream.md)."""
    await cast(Sessions, socket.app.state.streams).serve(socket)
