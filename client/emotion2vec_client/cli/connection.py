"""Options and helpers for the connection to the server."""

import functools
import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Callable, Optional, get_type_hints
from weakref import WeakSet

import typer

from emotion2vec_client._client import Client
from emotion2vec_client._endpoint import TLS
from emotion2vec_client._judges import NOBODY, Judges
from emotion2vec_client._retry import logger
from emotion2vec_client.cli.display import caution

PANEL = "Connection"


def _file(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=PANEL, show_default=False)


@dataclass(frozen=True)
class Connection:
    """How to reach the server; every command with `connects` has these fields as options."""

    url: Annotated[
        str,
        typer.Option(
            envvar="E2V_TRITON_URL",
            help="The server's address: host:port for gRPC, or starting with grpcs://, http:// or "
            "https://.",
            rich_help_panel=PANEL,
        ),
    ] = "localhost:8001"
    api_key: Annotated[
        Optional[str],
        typer.Option(
            envvar="E2V_TRITON_API_KEY",
            help="API key, sent as 'Authorization: Bearer …'. Command lines are visible to other "
            "users; prefer the environment variable.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = field(default=None, repr=False)
    tls_ca: Annotated[
        Optional[Path], _file("Certificate of the authority that signed the server's (PEM).")
    ] = None
    tls_cert: Annotated[Optional[Path], _file("Client certificate (PEM).")] = None
    tls_key: Annotated[Optional[Path], _file("Private key of the client certificate (PEM).")] = None

    def open(self, judges: Judges = NOBODY) -> Client:
        """Opens a client of the server, whose answers have those of the judges beside them.

        Raises:
            typer.BadParameter: The options are invalid, or a certificate is missing.
        """
        paths = [None if each is None else str(each) for each in self._tls]
        try:
            tls = TLS(*paths) if any(paths) else None
            return Client(
                self.url,
                api_key=self.api_key,
                tls=tls,
                policy=judges.policy,
                heads=judges.heads,
            )
        except (ValueError, FileNotFoundError) as error:
            raise typer.BadParameter(str(error)) from error

    @property
    def _tls(self) -> tuple[Optional[Path], ...]:
        return self.tls_ca, self.tls_cert, self.tls_key


def connects(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of `Connection` to a command, which gets them as ``connection``.

    A command with ``connections`` gets a list of them instead: its ``--url`` may be repeated.
    """
    options = fields(Connection)
    hints = get_type_hints(Connection, include_extras=True)
    defaults = {option.name: option.default for option in options}
    own = inspect.signature(command)
    several = "connections" in own.parameters
    if several:
        url = copy(hints["url"].__metadata__[0])
        url.help = f"{url.help} Several need Ray."
        hints["url"] = Annotated[list[str], url]
        defaults["url"] = [Connection.url]

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        chosen = {option.name: given.pop(option.name) for option in options}
        if several:
            urls = chosen.pop("url")
            return command(**given, connections=[Connection(url, **chosen) for url in urls])
        return command(**given, connection=Connection(**chosen))

    kept = [each for each in own.parameters.values() if not each.name.startswith("connection")]
    added = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[option.name],
            annotation=hints[option.name],
        )
        for option in options
    ]
    # typer reads both attributes.
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept] + added
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


_warned: WeakSet[Client] = WeakSet()


def warn_of_weights(client: Client) -> None:
    """Warns on stderr, once per client, if the weights are not those of emotion2vec+."""
    warning = caution(client.model_info())
    if warning and client not in _warned:
        _warned.add(client)
        print(f"{warning}\n", file=sys.stderr)


@contextmanager
def outages_reported() -> Iterator[None]:
    """Reports on stderr when the client waits for a server, and when the server is back."""
    if any(isinstance(each, _Outages) for each in logger.handlers):
        # Within another, which reports them.
        yield
        return
    handler = _Outages()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


class _Outages(logging.Handler):
    """Prints a message once, even if many calls log it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the message unless it repeats the last one."""
        if record.msg != self._last:
            self._last = record.msg
            # A progress bar makes room for whatever stderr prints.
            print(f"emotion2vec: {record.getMessage()}", file=sys.stderr)
