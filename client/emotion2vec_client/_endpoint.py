"""The server's address, headers and certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

SCHEMES = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 8000}
"""Protocols and Triton's default ports."""


@dataclass(frozen=True)
class TLS:
    """Certificates, as paths of PEM files.

    Attributes:
        ca: Authority that signed the server's certificate; None means the system's authorities.
        cert: The client's own certificate, for servers that require one.
        key: Private key of that certificate.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def check(self) -> None:
        """Refuses missing files, and a certificate or key without the other.

        Raises:
            FileNotFoundError: A file does not exist.
            ValueError: The certificate or its key is missing.
        """
        for name, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f"the TLS file {name}={path} does not exist")
        if (self.cert is None) != (self.key is None):
            raise ValueError("a TLS certificate and its key go together: give cert and key")


@dataclass(frozen=True)
class Endpoint:
    """A server's address.

    Attributes:
        scheme: ``grpc``, ``grpcs``, ``http`` or ``https``.
        host: Name or address.
        port: Port.
        headers: Sent with every request; not in the repr, because they may contain a key.
        tls: Certificates, for ``grpcs`` and ``https``.
        others: Host and port of each further server.
    """

    scheme: str
    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)
    tls: TLS
    others: tuple[str, ...] = ()

    @property
    def authority(self) -> str:
        """Host and port, of the first server if there are several."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def authorities(self) -> tuple[str, ...]:
        """Host and port of each server."""
        return (self.authority, *self.others)

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{','.join(self.authorities)}"

    @property
    def is_grpc(self) -> bool:
        """Whether the server speaks gRPC; if not, it speaks HTTP."""
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.endswith("s")


def parse(
    url: str,
    *,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    tls: TLS | None = None,
) -> Endpoint:
    """Parses an address.

    Args:
        url: ``host:port`` for gRPC, or starting with a scheme of `SCHEMES` and ``://``; several
            gRPC servers with commas between them.
        api_key: Sent as ``Authorization: Bearer …``.
        headers: More headers.
        tls: Certificates.

    Raises:
        TypeError: The url is not a string.
        ValueError: The url is not such an address, it has certificates but no TLS, or a header
            cannot be sent.
        FileNotFoundError: A certificate does not exist.
    """
    if not isinstance(url, str):
        raise TypeError(f"url is a {type(url).__name__}: give a string such as 'localhost:8001'")
    first, *rest = url.split(",")
    others = [_other(url, each.strip()) for each in rest]
    try:
        parts = urlsplit(first if "://" in first else f"grpc://{first}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url is {url!r}, which is not an address: {error}") from error
    if parts.scheme not in SCHEMES or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(
            f"url is {url!r}: give host:port for gRPC, such as 'localhost:8001', or "
            "'http://localhost:8000', with grpcs:// or https:// for TLS"
        )
    if others and parts.scheme != "grpc":
        raise ValueError(
            f"url is {url!r}: several servers are for gRPC without TLS; with TLS, give one name "
            "that has the addresses of all"
        )
    if tls and not parts.scheme.endswith("s"):
        raise ValueError(f"certificates are given, but {url!r} is not grpcs:// or https://")
    if tls:
        tls.check()
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if api_key is not None:
        _check_header("api_key", api_key)
        sent["authorization"] = f"Bearer {api_key}"
    for name, value in (headers or {}).items():
        _check_header(f"the header {name}", value)
    return Endpoint(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or SCHEMES[parts.scheme],
        headers=MappingProxyType(sent),
        tls=tls or TLS(),
        others=tuple(others),
    )


def _other(url: str, other: str) -> str:
    """Host and port of a further server."""
    if not other or ("://" in other and not other.startswith("grpc://")):
        raise ValueError(f"url is {url!r}: give host:port for each server, with commas between")
    return parse(other).authority


def check_url(url: str) -> None:
    """Refuses what is not an address of a server, without connecting to it.

    Args:
        url: ``host:port`` for gRPC, or with a scheme, such as ``http://host:port``.

    Raises:
        TypeError: The url is not a string.
        ValueError: The url is not such an address.
    """
    parse(url)


def is_this_machine(url: str) -> bool:
    """Whether an address, including its scheme, is on the loopback interface."""
    host = urlsplit(url.partition(",")[0]).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_header(name: str, value: str) -> None:
    """Refuses bad values here: the transport's error would show the value, which may be secret."""
    if not (value.isascii() and value.isprintable() and value == value.strip()):
        raise ValueError(
            f"{name} has characters that a header cannot have, such as a line break or a space at "
            "an end: give printable ASCII"
        )
