"""How gRPC spreads calls over several servers: all addresses of a name, or of a list.

gRPC itself balances (round robin), leaves out servers that cannot be reached, and repeats a call
elsewhere that a server has not answered (https://grpc.io/docs/guides/retry/).
"""

from __future__ import annotations

import json
import socket
from ipaddress import ip_address
from typing import Any

from emotion2vec_client._endpoint import Endpoint, is_this_machine
from emotion2vec_client.errors import ServerUnavailableError

SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # A server that ends has no models any more.
                "retryableStatusCodes": ["UNAVAILABLE", "NOT_FOUND"],
            },
        }
    ],
    # Stops repeating when 500 more calls have failed than succeeded: that is overload, or the end
    # of all, and not one server that ends.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 1},
}

LARGEST_REQUEST = 256 * 2**20
"""Bytes that gRPC keeps to repeat a call; by default 256 kB, less than a clip."""

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.per_rpc_retry_buffer_size", LARGEST_REQUEST),
    # Asks for new addresses as soon as a connection has ended; the default is 30 s after the last
    # time.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # Otherwise calls to a machine that has lost its power would wait for their timeouts.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


def is_balanced(endpoint: Endpoint) -> bool:
    """Whether there may be several servers: a list, or a name of another machine."""
    if endpoint.others:
        return True
    try:
        ip_address(endpoint.host)
    except ValueError:
        return not is_this_machine(endpoint.url)
    return False


def target(endpoint: Endpoint) -> str:
    """What gRPC connects to: a name that it resolves again and again, or a list of addresses.

    Raises:
        ServerUnavailableError: No name in a list has an address now.
    """
    if not endpoint.others:
        return f"dns:///{endpoint.authority}"
    found: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    errors = []
    for authority in endpoint.authorities:
        try:
            kind, addresses = _resolved(authority)
        except OSError as error:
            errors.append(f"{authority}: {error}")
            continue
        found[kind] += addresses
    # gRPC takes a list of one kind only.
    kind = "ipv4" if found["ipv4"] else "ipv6"
    if not found[kind]:
        raise ServerUnavailableError(
            f"no server of {endpoint.url} has an address ({'; '.join(errors)}): check the names"
        )
    return f"{kind}:{','.join(found[kind])}"


def _resolved(authority: str) -> tuple[str, list[str]]:
    """The kind and the addresses of ``host:port``; those of IPv4 if there are both."""
    host, _, port = authority.rpartition(":")
    everything = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    four = [f"{each[4][0]}:{port}" for each in everything if each[0] == socket.AF_INET]
    six = [f"[{each[4][0]}]:{port}" for each in everything if each[0] == socket.AF_INET6]
    return ("ipv4", four) if four else ("ipv6", six)
