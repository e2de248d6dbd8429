"""What all commands share: saying what is going on, and failing."""

import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Callable, Optional, cast

import typer

from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.client import Client
from emotion2vec_client.errors import (
    AccessDeniedError,
    Emotion2VecError,
    InvalidAudioError,
    ServerUnavailableError,
    WrongAddressError,
)
from emotion2vec_client.result import Granularity, Outcome

# typer's own base of everything that is wrong with a command line. It stands in click or, in newer
# releases, in typer itself, so there is no name for it that all releases import.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

GONE = (ServerUnavailableError, AccessDeniedError, WrongAddressError)
"""Errors that all further files would meet as well."""

INTERRUPTED = 130


def flag(*names: str, help: str) -> Any:
    """An option without a value; some releases of typer would show the type of one."""
    return typer.Option(*names, help=help, metavar="")


ConcurrencyOption = Annotated[int, typer.Option(min=1, help="Requests in flight at once.")]
JsonOption = Annotated[bool, flag("--json", help="Print JSON.")]
DEFAULT_CONCURRENCY = 16


class InterruptedWork(Exception):
    """Ctrl-C came; the message says how far the work is, and how to go on."""


def run(command: Any, argv: Optional[Sequence[str]]) -> int:
    """Runs the command; the one place where what went wrong becomes a sentence and exit code."""
    try:
        code = command.main(args=argv, prog_name="emotion2vec", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as exit_:
        # Shell completion ends so.
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
        # The reader, such as `head`, has had enough. What Python flushes at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Emotion2VecError, OSError) as error:
        complain(sentence(error))
        return 2 if is_bad_request(error) else 1


def is_bad_request(error: Exception) -> bool:
    """Whether the server refuses the options, which all files share, and not the audio."""
    return isinstance(error, InvalidAudioError) and error.reason == "bad_request"


def _usage(error: Exception) -> int:
    message = getattr(error, "message", "") or str(error)
    context = getattr(error, "ctx", None)
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        # Without arguments the help comes: some releases print it, others have it in the error.
        if message:
            print(message, file=sys.stderr)
        return 2
    command = context.command_path if context is not None else "emotion2vec"
    complain(f"{_plain(error, message).rstrip('.')} (see '{command} --help')")
    return 2


def _plain(error: Exception, message: str) -> str:
    """What is wrong with a command line, without the preambles of typer and of what it checks with.

    Releases differ in what they say of a value: some say it with pydantic, and then without the
    value.
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
    """For what is read before anything is sent: a file that cannot be used is wrong usage.

    Raises:
        typer.BadParameter: The file cannot be read, or holds something else.
    """
    try:
        yield
    except (AnalysisError, OSError) as error:
        raise typer.BadParameter(sentence(error)) from error


def complain(message: str) -> None:
    """One sentence on stderr."""
    print(f"emotion2vec: {message}", file=sys.stderr)


def say_written(what: str) -> None:
    """Says on stderr what a command has written, as its last word."""
    print(f"wrote {what}", file=sys.stderr)


def counted(count: int, noun: str) -> str:
    """A number and what it counts, such as ``1 row`` and ``5,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sentence(error: Exception) -> str:
    """An error in one sentence."""
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
    """Outcomes in the order of the items, until the server is gone for good.

    Raises:
        ServerUnavailableError: No server answers, and the client has waited long for one; all
            further files would fail for the same reason.
        AccessDeniedError: The same goes for a key that is not accepted.
        WrongAddressError: The same goes for an address that is not Triton's.
    """
    many = client.predict_many(
        items, granularity=granularity, embedding=embedding, concurrency=concurrency
    )
    for outcome in cast("Iterator[Outcome[Path]]", many):
        if isinstance(outcome.error, GONE):
            raise outcome.error
        yield outcome


@contextmanager
def told_where_it_ends(where: Callable[[], str]) -> Iterator[None]:
    """Adds to what ends the work early how far it is.

    Args:
        where: Says how far the work is, and how to go on.

    Raises:
        InterruptedWork: Ctrl-C came.
        Emotion2VecError: The server is gone, or the output cannot be written.
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
    """A progress bar with rate and time left on stderr, if that is a terminal and it takes a while.

    Args:
        total: How many steps, None when that is not known.
        shown: False where something else uses the terminal meanwhile.

    Yields:
        What to call with the steps that are done, which may be parts of one.
    """
    if not shown or not sys.stderr.isatty() or (total is not None and total < 2):
        yield lambda done: None
        return
    from emotion2vec_client.cli.display import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
