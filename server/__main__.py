"""``python -m server``: Triton, and the gateway with --gateway, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

from server.errors import ServerError
from server.installation import in_container
from server.log import FORMATS, configure
from server.process import gateway_grace, run_command
from server.production import check, is_loopback
from server.settings import Settings
from server.stop import Stop, StopRequested
from server.supervisor import Supervisor

log = logging.getLogger("server")

OPEN_WARNING = (
    "%s is open to a network, and this Triton (2.51) has published vulnerabilities: use 127.0.0.1, "
    "or see SECURITY.md and --production"
)


def main() -> int:
    """Serves until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("--version", action="store_true", help="print the version and end")
    default = Settings()
    parser.add_argument("--model-repository", type=Path, default=default.model_repository)
    parser.add_argument(
        "--decoders",
        type=_count,
        metavar="N",
        help="processes that decode clips (default: 2, or all cores but 2 for an encoder on a GPU)",
    )
    parser.add_argument("--host", default=default.host, help="address to listen on (%(default)s)")
    for name in ("http", "grpc", "metrics"):
        port = getattr(default, f"{name}_port")
        parser.add_argument(f"--{name}-port", type=_port, default=port, help="(%(default)s)")
    for name, what in (
        ("cert", "certificate of gRPC (PEM); HTTP and metrics then stay on loopback"),
        ("key", "its key"),
        ("ca", "authority whose certificates clients must show"),
    ):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=what)
    parser.add_argument(
        "--production",
        action="store_true",
        help="refuse random and demonstration weights, and unprotected ports on a network",
    )
    parser.add_argument("--verbose", action="store_true", help="show Triton's information lines")
    parser.add_argument(
        "--gateway",
        action="store_true",
        help="start the web page and REST endpoint with it (E2V_ variables, docs/gateway.md)",
    )
    parser.add_argument(
        "--on-ready", metavar="COMMAND", help="run this once when every model answers"
    )
    options = vars(parser.parse_args())
    if options.pop("version"):
        print(version("emotion2vec-client"))
        parser.exit()
    command, gateway, production = (
        options.pop(name) for name in ("on_ready", "gateway", "production")
    )
    settings = Settings(**options)
    stop = Stop()
    stop.listen()

    def on_ready() -> None:
        print(
            f"server: ready on gRPC {settings.host}:{settings.grpc_port}"
            f"{' (TLS)' if settings.tls_cert else ''}, "
            f"HTTP {settings.http_host}:{settings.http_port}, "
            f"metrics {settings.http_host}:{settings.metrics_port}; press Ctrl-C to stop",
            flush=True,
        )
        if command:
            print(f"$ {command}", flush=True)
            run_command(command, stop, E2V_TRITON_URL=settings.local_url)

    try:
        configure(_log_format())
        if production:
            check(settings)
        elif not is_loopback(settings.host) and not in_container():
            log.warning(OPEN_WARNING, settings.host)
        grace = gateway_grace(production) if gateway else None
        if gateway and grace is None:
            stop.check()
            return 1
        log.info("starting Triton ...")
        Supervisor(settings, grace=grace, stop=stop).run(on_ready)
    except ServerError as error:
        print(f"server: {error}", file=sys.stderr)
        return 1
    except StopRequested:
        log.info("stopped")
    return 0


def _log_format() -> str:
    kind = os.environ.get("E2V_LOG_FORMAT", FORMATS[0])
    if kind not in FORMATS:
        raise ServerError(f"E2V_LOG_FORMAT is {kind!r}: give {' or '.join(FORMATS)}")
    return kind


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes: use 1 or more")
    return count


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text} is not a port: use 1 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
