"""``python -m gateway.check``: checks whether the gateway could start with these settings.

The server runs it before it starts anything, and the gateway checks again. It does not import the
page, so that it answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import os
import socket
import sys
import tempfile

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.settings import Settings
from server.production import is_loopback
from server.tracing import TracingError, traces_url


class SettingsError(ValueError):
    """A setting cannot be used; the message has one sentence for each."""


def read_settings(production: bool = False) -> Settings:
    """The settings of the environment.

    Args:
        production: Whether an address on a network needs API keys.

    Raises:
        SettingsError: A variable is unknown or has a bad value, or the gateway would be open to a
            network in production.
    """
    known = {f"E2V_{name.upper()}" for name in Settings.model_fields}
    problems = []
    for name in sorted(name for name in os.environ if name.startswith("E2V_")):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f": did you mean {near[0]}?" if near else ": docs/gateway.md lists all"
            problems.append(f"{name} is not a setting{hint}")
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            problems.append(_sentence(problem))
        raise SettingsError("\n".join(problems)) from error
    if production and not is_loopback(settings.host) and not settings.api_keys:
        problems.append(
            f"--production refuses a gateway on {settings.host} that is open to everyone: put keys "
            "into E2V_API_KEYS, and TLS in front, or leave E2V_HOST at 127.0.0.1"
        )
    try:
        traces_url()
    except TracingError as error:
        problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


EXPECTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
}
"""What to give instead, by pydantic's type of error."""


def _sentence(problem: ErrorDetails) -> str:
    """What is wrong with a variable; no secret can cause such an error."""
    name, *_ = problem["loc"]
    variable = f"E2V_{str(name).upper()}"
    context = problem.get("ctx", {})
    if problem["type"] in EXPECTED:
        expected = EXPECTED[problem["type"]].format(**context)
        return f"{variable} is {problem['input']!r}: give {expected}"
    # Either our own sentence, which has the value, or an error that no current setting can cause.
    return f"{variable} cannot be used: {context.get('error', problem['msg'])}"


def listen(settings: Settings) -> socket.socket:
    """The socket that the gateway listens on.

    Raises:
        SettingsError: The address is taken, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): end what uses "
            "it, or choose another with E2V_PORT"
        ) from error
    return listener


def check_outputs(settings: Settings) -> None:
    """Checks that results can be written to their folder, if they are kept.

    Raises:
        SettingsError: They cannot.
    """
    if settings.keep_results == 0:
        return
    try:
        settings.outputs.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=settings.outputs).close()
    except OSError as error:
        raise SettingsError(
            f"results cannot be kept in {settings.outputs} ({error.strerror}): make the folder "
            "writable, or choose another with E2V_OUTPUTS"
        ) from error


def complain(error: SettingsError) -> None:
    """Prints each sentence."""
    for sentence in str(error).splitlines():
        print(f"gateway: {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    """Returns the exit code: 0 if the gateway could start."""
    parser = argparse.ArgumentParser(prog="python -m gateway.check", description=__doc__)
    parser.add_argument(
        "--production", action="store_true", help="refuse an unprotected network address"
    )
    parser.add_argument(
        "--grace", action="store_true", help="print how many seconds a gateway may take to end"
    )
    options = parser.parse_args()
    try:
        settings = read_settings(options.production)
        check_outputs(settings)
        listen(settings).close()
        if options.grace:
            print(settings.grace)
    except SettingsError as error:
        complain(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
