"""``emotion2vec timeline``: the course of emotion through a long recording."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Callable, Optional

import typer

from emotion2vec_client.cli import display
from emotion2vec_client.cli.common import (
    DEFAULT_URL,
    JsonOption,
    UrlOption,
    connect,
    warn_if_random,
)
from emotion2vec_client.cli.strip import show
from emotion2vec_client.timeline import FORMATS, check_format


def timeline(
    file: Annotated[Path, typer.Argument(help="An audio file.", show_default=False)],
    output: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--output",
            "-o",
            help=f"Also write it: name{', name'.join(FORMATS)}; may be given several times.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        Optional[float],
        typer.Option(
            help="Cut windows of so many seconds, up to 30, instead of speech at its pauses.",
            show_default=False,
        ),
    ] = None,
    hop: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds from one window's start to the next one's; by default the window.",
            show_default=False,
        ),
    ] = None,
    min_segment: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds under which speech joins its neighbour; 1 by default.",
            show_default=False,
        ),
    ] = None,
    max_segment: Annotated[
        Optional[float],
        typer.Option(
            help="Seconds of the longest piece of speech, up to 30; 10 by default.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    json_: JsonOption = False,
) -> None:
    """Recognise the course of emotion through a recording of up to two hours.

    Speech is cut at its pauses into pieces of 1 to 10 s. Each column of the
    strip is a part of the recording, in the colour of its emotion; the scores
    are means over all speech. SRT and VTT are subtitles for a player.

    Example: emotion2vec timeline call.mp3 -o call.json -o call.srt -o call.png
    """
    if hop is not None and window is None:
        raise typer.BadParameter("--hop is for windows: add --window")
    if window is not None and (min_segment is not None or max_segment is not None):
        raise typer.BadParameter(
            "windows are all of one length: leave out --min- and --max-segment"
        )
    for path in output or []:
        _check_output(path)
    with connect(url) as client:
        warn_if_random(client)
        with _progress() as progress:
            found = client.timeline(
                file,
                segmentation="vad" if window is None else "fixed",
                min_segment=min_segment,
                max_segment=max_segment,
                window=window,
                hop=hop,
                progress=progress,
            )
    for path in output or []:
        found.save(path)
    display.survive_odd_terminals()
    if json_:
        print(json.dumps(found.to_dict(), ensure_ascii=False, indent=2))
    else:
        show(found)


def _check_output(path: Path) -> None:
    """Refuses what cannot be written before the file is sent."""
    try:
        suffix = check_format(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}: make it first")
    if suffix == ".png":
        from emotion2vec_client.analysis.arrays import import_extra

        import_extra("matplotlib")


@contextmanager
def _progress() -> Iterator[Optional[Callable[[float], None]]]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Its default columns are bar, share and time left.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listening", total=1.0)
        yield lambda share: bar.update(task, completed=share)
