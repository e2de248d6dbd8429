"""What ``python -m server --production`` requires before the service faces a network."""

from __future__ import annotations

import ipaddress
import json
import re

from server.errors import ServerError
from server.settings import Settings


def check(settings: Settings) -> None:
    """Refuses a Triton that must not face a network; the gateway checks itself.

    Raises:
        ServerError: The weights are random or only for demonstration, or gRPC would be open to a
            network.
    """
    weights = _weights(settings)
    if weights != "pretrained":
        reason = {
            "random": "random weights, whose scores mean nothing",
            "demonstration": "the demonstration model, which is often wrong",
        }
        raise ServerError(
            f"--production refuses {reason.get(weights, weights)}: export a checkpoint with "
            "`make export`"
        )
    if not is_loopback(settings.host) and settings.tls_ca is None:
        raise ServerError(
            f"--production refuses gRPC on {settings.host} for everybody: give --tls-cert, "
            "--tls-key and --tls-ca, so that clients need a certificate, or stay on 127.0.0.1"
        )


def _weights(settings: Settings) -> str:
    path = settings.model_repository / "encoder" / "config.pbtxt"
    card = re.search(r'key: "model_card".*?string_value: ("(?:[^"\\]|\\.)*")', path.read_text())
    if card is None:
        raise ServerError(f"{path} has no model card: export the model again with `make export`")
    # The string is quoted by protobuf's text format and then by JSON.
    return str(json.loads(json.loads(card[1]))["weights"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
