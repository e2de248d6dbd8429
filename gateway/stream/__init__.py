"""Emotion while someone speaks: a WebSocket that takes audio and sends measurements."""

from gateway.stream.sessions import Sessions

__all__ = ["Sessions"]
