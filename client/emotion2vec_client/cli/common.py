"""What all commands share: telling people what is going on, and failing."""

import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Callable, Optional, cast

import typer

from emotion2vec_client.client import Client
from emotion2vec_client.errors import (
    AccessDeniedError,
    Emotion2VecError,
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

ConcurrencyOption = Annotated[int, typer.Option(min=1, help="Requests in flight.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_CONCURRENCY = 16


class InterruptedWork(Exception):
    """Ctrl-C came; the message says how far the work is, and how to go on."""


def run(app: typer.Typer, argv: Optional[Sequence[str]]) -> int:
    """Runs an app; the one place where what went wrong becomes a sentence and an exit code."""
    command = typer.main.get_command(app)
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
        return 1


def _usage(error: Exception) -> int:
    message = getattr(error, "message", "") or str(error)
    context = getattr(error, "ctx", None)
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        # Without arguments the help comes: some releases print it, others have it in the error.
        if message:
            print(message, file=sys.stderr)
        return 2
    if hasattr(error, "format_message"):
        message = error.format_message().replace("Invalid value: ", "", 1)
    command = context.command_path if context is not None else "emotion2vec"
    complain(f"{message.rstrip('.')} (see '{command} --help')")
    return 2


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
