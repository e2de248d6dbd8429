"""What all commands share: options, messages and error handling."""

import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Callable, Optional, cast

import typer

from emotion2vec_client._client import Client
from emotion2vec_client._result import Granularity, Outcome
from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.errors import (
    AccessDeniedError,
    Emotion2VecError,
    InvalidAudioError,
    ServerUnavailableError,
    WrongAddressError,
)

# typer's base class of usage errors. Older releases have it in click and newer ones in typer, so no
# import works for all of them.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

GONE = (ServerUnavailableError, AccessDeniedError, WrongAddressError)
"""Errors that would stop all further files too."""

INTERRUPTED = 130


def flag(*names: str, help: str) -> Any:
    """An option without a value; without ``metavar`` some releases of typer show a type."""
    return typer.Option(*names, help=help, metavar="")


ConcurrencyOption = Annotated[int, typer.Option(min=1, help="Requests in flight at once.")]
JsonOption = Annotated[bool, flag("--json", help="Print JSON.")]
DEFAULT_CONCURRENCY = 16


class InterruptedWork(Exception):
    """The user pressed Ctrl-C; the message says how far the work is, and how to continue."""


def run(command: Any, argv: Optional[Sequence[str]]) -> int:
    """Runs the command; only here do errors become a message and an exit code."""
    try:
        code = command.main(args=argv, prog_name="emotion2vec", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as exit_:
        # From shell completion.
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except USAGE_ERROR as error:
        return _usage(error)
    except InterruptedWork as error:
        complain(f"interrupted: {error}")
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted: nothing was written")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Discard what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Emotion2VecError, OSError) as error:
        complain(sentence(error))
        return 2 if is_bad_request(error) else 1


def is_bad_request(error: Exception) -> bool:
    """Whether the server refuses the options, which all files share, instead of the audio."""
    return isinstance(error, InvalidAudioError) and error.reason == "bad_request"


def _usage(error: Exception) -> int:
    message = getattr(error, "message", "") or str(error)
    context = getattr(error, "ctx", None)
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        # Without arguments, some releases print the help, others put it in the error.
        if message:
            print(message, file=sys.stderr)
        return 2
    command = context.command_path if context is not None else "emotion2vec"
    complain(f"{_plain(error, message).rstrip('.')} (see '{command} --help')")
    return 2


def _plain(error: Exception, message: str) -> str:
    """The message of a usage error, without the prefixes of typer and pydantic.

    Some releases of typer validate with pydantic, whose messages lack the value.
    """
    if hasattr(error, "format_message"):
        message = error.format_message().replace("Invalid value: ", "", 1)
    option, _, reason = message.partition(": ")
    if not option.startswith("Invalid value for "):
        return message
    option = option[len("Invalid value for ") :].replace("'", "")
    reason = re.sub(r"^Value error, |, unable to parse.*", "", reason)
    cause: Any = error.__cause__
    if reason.startswith("Input should be ") and hasattr(cause, "errors"):
        value = cause.errors()[0]["input"]
        reason = reason.replace("Input should be ", f"{value!r} should be ", 1)
    return f"{option}: {reason}"


@contextmanager
def wrong_usage() -> Iterator[None]:
    """Turns errors in a labels or head file into usage errors.

    Raises:
        typer.BadParameter: The file cannot be read, or has other content.
    """
    try:
        yield
    except (AnalysisError, OSError) as error:
        raise typer.BadParameter(sentence(error)) from error


def complain(message: str) -> None:
    """Prints one sentence on stderr."""
    print(f"emotion2vec: {message}", file=sys.stderr)


def say_written(what: str) -> None:
    """Reports on stderr what a command has written, at its end."""
    print(f"wrote {what}", file=sys.stderr)


def sentence(error: Exception) -> str:
    """The error in one sentence."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"cannot use {name}{error.strerror}" if name else error.strerror
    return str(error)


def answers(
    client: Client,
    items: Iterable[Path],
    *,
    concurrency: int,
    granularity: Granularity = "utterance",
    embedding: bool = False,
) -> Generator[Outcome[Path], None, None]:
    """Outcomes in the order of the items, until an error that would stop all further items.

    Raises:
        ServerUnavailableError: No server answers, and the client has waited long enough.
        AccessDeniedError: The API key is not accepted.
        WrongAddressError: The address is not Triton's.
    """
    many = client.predict_many(
        items, granularity=granularity, embedding=embedding, concurrency=concurrency
    )
    for outcome in cast("Iterator[Outcome[Path]]", many):
        if isinstance(outcome.error, GONE):
            raise outcome.error
        yield outcome


@contextmanager
def progress_in_errors(where: Callable[[], str]) -> Iterator[None]:
    """Adds to an error or interruption how far the work is.

    Args:
        where: Returns how far the work is, and how to continue.

    Raises:
        InterruptedWork: The user pressed Ctrl-C.
        Emotion2VecError: The server is down, or the output cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        raise InterruptedWork(where()) from None
    except (*GONE, OSError) as error:
        raise Emotion2VecError(f"{sentence(error)}; {where()}") from error


@contextmanager
def progress(total: Optional[int], shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Shows a progress bar on stderr, if that is a terminal and there are several steps.

    Args:
        total: Number of steps, None if unknown.
        shown: False if something else uses the terminal meanwhile.

    Yields:
        A function to call with the number of finished steps, which may be fractional.
    """
    if not shown or not sys.stderr.isatty() or (total is not None and total < 2):
        yield lambda done: None
        return
    from emotion2vec_client.cli.display import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
