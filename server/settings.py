"""How Triton is started, and which of its APIs are closed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from server.errors import ServerError

LOOPBACK = "127.0.0.1"

CLOSED = ("model-repository", "shared-memory", "trace", "logging")
"""APIs that change the server for everyone and that the service does not need. The one for shared
memory has published vulnerabilities; the others load models, write files and change the log."""


CONNECTION_SECONDS = 10
"""Age at which Triton lets a gRPC connection end when its calls are answered. The client connects
again at once, and so finds servers that have come since then."""

PING_SECONDS = 5
"""Clients that balance ask this often at most whether a silent machine is still there."""


@dataclass(frozen=True)
class Settings:
    """Options of ``python -m server``.

    Attributes:
        model_repository: The folder of models.
        decoders: Number of processes that decode clips; None for what suits the machine.
        host: Address to listen on.
        http_port: Port of KServe v2 over HTTP.
        grpc_port: Port of KServe v2 over gRPC.
        metrics_port: Port of the Prometheus metrics.
        verbose: Whether Triton's own information lines are shown.
        tls_cert: PEM file of the certificate for gRPC; with it, HTTP and the metrics, which have
            no TLS, stay on loopback.
        tls_key: PEM file of the certificate's key.
        tls_ca: PEM file of the authority whose certificates clients must show.
    """

    model_repository: Path = Path("model_repository")
    decoders: int | None = None
    host: str = LOOPBACK
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    verbose: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None

    @property
    def http_host(self) -> str:
        """Address of HTTP and the metrics."""
        return self.host if self.tls_cert is None else LOOPBACK

    @property
    def http_url(self) -> str:
        """Address of Triton's HTTP endpoint."""
        return f"http://{self.http_host}:{self.http_port}"

    @property
    def local_url(self) -> str:
        """The address that a gateway on this machine uses, without TLS."""
        return f"{self.host}:{self.grpc_port}" if self.tls_cert is None else self.http_url

    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each protocol listens: host and port."""
        return {
            "http": (self.http_host, self.http_port),
            "grpc": (self.host, self.grpc_port),
            "metrics": (self.http_host, self.metrics_port),
        }

    def check_tls(self) -> None:
        """Raises ServerError for TLS files that are missing or do not fit together."""
        for name in ("tls_cert", "tls_key", "tls_ca"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ServerError(f"--{name.replace('_', '-')} {path} does not exist")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ServerError("TLS needs both --tls-cert and --tls-key")
        if self.tls_ca is not None and self.tls_cert is None:
            raise ServerError("--tls-ca needs --tls-cert and --tls-key as well")

    def arguments(self) -> list[str]:
        """Arguments of tritonserver, except for its folders; its working directory is another."""
        # The key is never stored, so that these APIs are closed to everyone.
        closed = f"{','.join(CLOSED)}:x-shut={secrets.token_hex(32)}"
        addresses = [
            argument
            for name, (host, port) in self.addresses().items()
            for argument in (f"--{name}-address={host}", f"--{name}-port={port}")
        ]
        return [
            # The configurations are the contract: Triton must not add guesses to them.
            "--disable-auto-complete-config",
            "--exit-on-error=true",
            "--strict-readiness=true",
            "--model-control-mode=none",
            *addresses,
            f"--http-restricted-api={closed}",
            f"--grpc-restricted-protocol={closed}",
            f"--grpc-max-connection-age={CONNECTION_SECONDS * 1000}",
            f"--grpc-http2-min-recv-ping-interval-without-data={PING_SECONDS * 1000}",
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            f"--log-info={str(self.verbose).lower()}",
            *self._tls_arguments(),
        ]

    def _tls_arguments(self) -> list[str]:
        if self.tls_cert is None or self.tls_key is None:
            return []
        arguments = [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={self.tls_cert.absolute()}",
            f"--grpc-server-key={self.tls_key.absolute()}",
        ]
        if self.tls_ca is not None:
            authority = f"--grpc-root-cert={self.tls_ca.absolute()}"
            arguments += ["--grpc-use-ssl-mutual=true", authority]
        return arguments
