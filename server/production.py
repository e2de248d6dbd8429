"""What must hold before the service is shown to a network: ``python -m server --production``."""

from __future__ import annotations

import ipaddress
import json
import os
import re

from server.errors import ServerError
from server.settings import Settings


def check(settings: Settings, gateway: bool) -> None:
    """Refuses what nobody means to run in production.

    Args:
        settings: How Triton would be started.
        gateway: Whether the gateway would run beside it.

    Raises:
        ServerError: The model's weights are random, or a door would stand open.
    """
    if _weights(settings) != "pretrained":
        raise ServerError(
            "--production refuses random weights, whose scores mean nothing: export a checkpoint "
            "with `make export`"
        )
    if not _is_loopback(settings.host) and settings.tls_ca is None:
        raise ServerError(
            f"--production refuses gRPC on {settings.host} for everybody: give --tls-cert, "
            "--tls-key and --tls-ca, so that clients show a certificate, or stay on 127.0.0.1"
        )
    host = os.environ.get("E2V_HOST", "127.0.0.1")
    if gateway and not _is_loopback(host) and not os.environ.get("E2V_API_KEYS"):
        raise ServerError(
            f"--production refuses a gateway on {host} for everybody: set E2V_API_KEYS, and put "
            "TLS in front, or leave E2V_HOST at 127.0.0.1"
        )


def _weights(settings: Settings) -> str:
    path = settings.model_repository / "encoder" / "config.pbtxt"
    card = re.search(r'key: "model_card".*?string_value: ("(?:[^"\\]|\\.)*")', path.read_text())
    if card is None:
        raise ServerError(f"{path} has no model card: export the model again with `make export`")
    # A string of protobuf's text format, and then of JSON.
    return str(json.loads(json.loads(card[1]))["weights"])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
