"""What all commands share: finding audio, connecting, many files at once, and failing."""

import glob
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Callable, Optional, cast
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import typer

from emotion2vec_client.cli.display import RANDOM_WARNING
from emotion2vec_client.client import Client
from emotion2vec_client.errors import (
    AccessDeniedError,
    Emotion2VecError,
    ServerUnavailableError,
)
from emotion2vec_client.result import Granularity, Outcome, Prediction

SUFFIXES = frozenset((".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".webm", ".aac"))
"""What counts as audio in a folder; a file that is named may have any name."""

# typer's own base of everything that is wrong with a command line. It stands in click or, in newer
# releases, in typer itself, so there is no name for it that all releases import.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|DIR|GLOB|-...",
        help="Audio files, folders (with all below them) or patterns; - reads names from stdin, "
        "one a line.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str,
    typer.Option(
        envvar="E2V_TRITON_URL", help="The server: host:port of its gRPC, or http://host:port."
    ),
]
ConcurrencyOption = Annotated[int, typer.Option(min=1, help="Requests in flight.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_URL = "localhost:8001"
DEFAULT_CONCURRENCY = 16

_warned: WeakSet[Client] = WeakSet()


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
    except (KeyboardInterrupt, typer.Abort):
        return 130
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


def sentence(error: Exception) -> str:
    """An error in one sentence."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"cannot use {name}{error.strerror}" if name else error.strerror
    return str(error)


def find_audio(arguments: Sequence[str]) -> list[Path]:
    """The files that arguments name, in their order.

    Args:
        arguments: Files, directories (searched for audio by suffix, sorted, without what is
            hidden), patterns that the shell did not expand, and ``-`` for names on stdin.

    Raises:
        typer.BadParameter: An argument gives nothing. A name that is no pattern is taken as it is:
            whether there is such a file is for the one who reads it to say.
    """
    return list(iter_audio(arguments))


def iter_audio(arguments: Sequence[str]) -> Iterator[Path]:
    """As `find_audio`, without ever holding all of them."""
    for argument in arguments:
        found = False
        for found_path in _expand(argument):
            found = True
            yield found_path
        if not found:
            raise typer.BadParameter(_nothing(argument))


def _expand(argument: str) -> Iterator[Path]:
    if argument == "-":
        yield from (Path(line) for line in (raw.rstrip("\r\n") for raw in sys.stdin) if line)
    elif os.path.isdir(argument):
        yield from _walk(argument)
    elif glob.has_magic(argument) and not os.path.exists(argument):
        for match in sorted(glob.iglob(argument, recursive=True)):
            yield from _expand(match)
    else:
        yield Path(argument)


def _walk(folder: str) -> Iterator[Path]:
    # Names and not entries with all that is known of them: a folder may hold a million.
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            if not os.path.islink(path):
                yield from _walk(path)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:
            yield Path(path)


def _nothing(argument: str) -> str:
    if argument == "-":
        return "no file names came on stdin: write one a line"
    if os.path.isdir(argument):
        known = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        return f"no audio in the folder {argument}: it needs files that end in one of {known}"
    return f"nothing matches {argument}: check the pattern"


def connect(url: str) -> Client:
    """A client of a server.

    Raises:
        typer.BadParameter: The url is no address.
    """
    try:
        return Client(url)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def warn_if_random(client: Client) -> None:
    """Says on stderr, once and hard to overlook, that the answers mean nothing."""
    if client.model_info().weights == "random" and client not in _warned:
        _warned.add(client)
        print(RANDOM_WARNING, file=sys.stderr)


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
    """
    many = client.predict_many(
        items, granularity=granularity, embedding=embedding, concurrency=concurrency
    )
    for outcome in cast("Iterator[Outcome[Path]]", many):
        if isinstance(outcome.error, (ServerUnavailableError, AccessDeniedError)):
            raise outcome.error
        yield outcome


@dataclass(frozen=True)
class Embedded:
    """Files and their embeddings.

    Attributes:
        paths: The n files that worked.
        embeddings: float32 [n, D], a row for each.
        predictions: Their predictions.
        failures: The others, with their errors.
    """

    paths: list[Path]
    embeddings: npt.NDArray[np.float32]
    predictions: list[Prediction]
    failures: list[Outcome[Path]]


def embed(
    client: Client, paths: Sequence[Path], concurrency: int = DEFAULT_CONCURRENCY
) -> Embedded:
    """Gets the embeddings of files; says on stderr which failed, and if weights are random.

    Raises:
        Emotion2VecError: None of the files works, or the server is gone.
    """
    warn_if_random(client)
    good: list[tuple[Path, Prediction]] = []
    rows: list[npt.NDArray[np.float32]] = []
    failures: list[Outcome[Path]] = []
    outcomes = answers(client, paths, concurrency=concurrency, embedding=True)
    with closing(outcomes), progress(len(paths)) as advance:
        for outcome in outcomes:
            if outcome.prediction is None or outcome.prediction.embedding is None:
                failures.append(outcome)
            else:
                good.append((outcome.item, outcome.prediction))
                rows.append(outcome.prediction.embedding)
            advance()
    for failure in failures:
        complain(f"{failure.item}: {sentence(failure.error or ValueError('no embedding came'))}")
    if not good:
        raise Emotion2VecError(f"none of the {len(paths)} files could be used: see above")
    return Embedded(
        [path for path, _ in good],
        np.stack(rows),
        [prediction for _, prediction in good],
        failures,
    )


@contextmanager
def progress(total: Optional[int], shown: bool = True) -> Iterator[Callable[[], None]]:
    """A progress bar with rate and time left on stderr, if that is a terminal and it takes a while.

    Args:
        total: How many steps, None when that is not known.
        shown: False where something else uses the terminal meanwhile.

    Yields:
        What to call after each step.
    """
    if not shown or not sys.stderr.isatty() or (total is not None and total < 2):
        yield lambda: None
        return
    from emotion2vec_client.cli.display import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
