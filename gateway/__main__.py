"""``python -m gateway``: the page and the REST endpoint, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import socket
import sys
from importlib.metadata import version

from emotion2vec_client import Emotion2VecError
from gateway.check import SettingsError, check_outputs, complain, listen, read_settings
from gateway.settings import Settings

log = logging.getLogger("gateway")

READY_SECONDS = 600


def main() -> int:
    """Serves until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--version", action="version", version=version("emotion2vec-client"))
    parser.add_argument(
        "--openapi", action="store_true", help="print the OpenAPI description and end"
    )
    parser.add_argument(
        "--asyncapi", action="store_true", help="print the AsyncAPI description and end"
    )
    parser.add_argument(
        "--restarts", type=int, metavar="FD", help="open file of the supervisor's restart counts"
    )
    options = parser.parse_args()
    # Importing the page takes seconds and makes a folder, which a signal must not leave behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from gateway.app import create_app
    from gateway.serving import configure_log

    try:
        settings = read_settings()
        if options.openapi:
            print(json.dumps(create_app(settings).openapi(), ensure_ascii=False, indent=2))
            return 0
        if options.asyncapi:
            from gateway.stream.description import asyncapi

            print(json.dumps(asyncapi(), ensure_ascii=False, indent=2))
            return 0
        check_outputs(settings)
        listener = listen(settings)
    except SettingsError as error:
        complain(error)
        return 1
    configure_log(settings.log_format)
    with listener:
        return asyncio.run(_serve(settings, listener, options.restarts))


async def _serve(settings: Settings, listener: socket.socket, restarts: int | None) -> int:
    from gateway.app import create_app
    from gateway.page import end_streams
    from gateway.serving import Server

    app = create_app(settings, restarts)

    async def on_stop() -> None:
        end_streams(app)
        await app.state.streams.close(settings.grace)

    server = Server(app, settings.grace, on_stop)
    announcing = asyncio.create_task(
        _announce(app.state.recogniser.client, settings.triton_url, listener)
    )
    try:
        await server.serve([listener])
    finally:
        announcing.cancel()
    return 0


async def _announce(client: object, triton: str, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://{'localhost' if host in ('127.0.0.1', '::1', '0.0.0.0', '::') else host}"
    log.info("waiting for the models of Triton at %s ...", triton)
    try:
        await client.wait_until_ready(READY_SECONDS)  # type: ignore[attr-defined]
    except Emotion2VecError as error:
        log.error("%s", error)
    print(
        f"gateway: open {address}:{port} in a browser, or POST a file to "
        f"{address}:{port}/api/predict/ (described at {address}:{port}/docs)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
