"""The command ``emotion2vec listen``."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Optional

import typer

from emotion2vec_client._stream import Stream
from emotion2vec_client._stream_events import (
    Measurement,
    SpeechEnded,
    SpeechStarted,
    StreamEvent,
)
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.display import bar, percent, replace_unprintable
from emotion2vec_client.cli.judging import PolicyOption, load
from emotion2vec_client.cli.naming import NamesOption, SeparateOption, split_names
from emotion2vec_client.cli.sources import ENCODINGS, Source, read_stream, record
from emotion2vec_client.cli.strip import clock
from emotion2vec_client.errors import Emotion2VecError, ServerUnavailableError

ENDS = {
    "idle": "no audio came for too long",
    "too_long": "it has reached its longest time (E2V_STREAM_SECONDS)",
    "too_many_errors": "it had too many errors",
}
"""What to say about each reason of `StreamTotals`."""


@connects
def listen(
    source: Annotated[
        Optional[str],
        typer.Argument(
            help="- reads a WAV stream or raw samples from stdin; without it, the microphone "
            "speaks.",
            metavar="[-]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        Optional[str],
        typer.Option(help="Name or number of the microphone.", show_default=False),
    ] = None,
    rate: Annotated[
        int,
        typer.Option(min=8000, max=48000, help="Samples per second; a WAV stream says its own."),
    ] = 16000,
    channels: Annotated[int, typer.Option(min=1, max=2, help="Channels. As for --rate.")] = 1,
    separate: SeparateOption = False,
    names: NamesOption = None,
    encoding: Annotated[
        str, typer.Option(help="Of raw samples on stdin: s16le, mulaw or alaw.")
    ] = "s16le",
    interval: Annotated[
        float,
        typer.Option(
            min=0, max=30, help="Seconds of speech between interim measurements; 0 for none."
        ),
    ] = 1.5,
    gateway: Annotated[
        Optional[str],
        typer.Option(
            envvar="E2V_GATEWAY_URL",
            help="The gateway's address; by default port 7860 of the machine with Triton.",
            show_default=False,
        ),
    ] = None,
    policy: PolicyOption = None,
    *,
    connection: Connection,
) -> None:
    """Show emotion while someone speaks, from the microphone or a pipe.

    On a terminal the last line changes while someone speaks, and each segment stays when it is
    over. In a pipe every measurement is a line of JSON. Ctrl-C ends it after the last one.

    ffmpeg -i call.mp3 -f wav - | emotion2vec listen -
    """
    if source not in (None, "-"):
        raise typer.BadParameter(
            f"the source is {source!r}: use - for stdin, or nothing for the microphone; "
            "'emotion2vec timeline' takes files"
        )
    if encoding not in ENCODINGS:
        raise typer.BadParameter(f"--encoding is {encoding!r}: use s16le, mulaw or alaw")
    if names is not None and not (separate and (channels == 2 or source == "-")):
        raise typer.BadParameter("--names are for two speakers: add --channels 2 --separate")
    named = split_names(names)
    if source == "-":
        audio = read_stream(sys.stdin.buffer, rate, channels, encoding)
    else:
        audio = record(device, rate, channels)
    replace_unprintable()
    show = show_line if sys.stdout.isatty() else write_json
    with ExitStack() as stack:
        client = stack.enter_context(connection.open(load(policy, None)))
        try:
            stream = client.stream(
                rate=audio.rate,
                encoding=audio.encoding,
                channels=audio.channels,
                mixed=not separate,
                names=named,
                interval=interval,
                gateway=gateway,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        stack.enter_context(stream)
        stack.enter_context(sending(stream, audio))
        try:
            for event in stream.events():
                show(event)
        except KeyboardInterrupt:
            # A second one ends it at once.
            audio.stop()
            stream.finish()
            for event in stream.events():
                show(event)
    totals = stream.totals
    assert totals is not None
    if totals.reason not in ("closed", "stopping"):
        raise Emotion2VecError(f"the gateway has ended the stream: {ENDS[totals.reason]}")
    if totals.reason == "stopping":
        raise ServerUnavailableError("the gateway is stopping: what was heard until now is above")
    if sys.stdout.isatty():
        print(
            f"\r\033[K{clock(totals.duration)} heard, {totals.final} segments"
            + (f", {totals.skipped} interim measurements left out" if totals.skipped else "")
        )


@contextmanager
def sending(stream: Stream, audio: Source) -> Iterator[None]:
    """Sends the audio from another thread, for the length of a ``with`` block."""
    stopped = threading.Event()

    def run() -> None:
        try:
            for frame in audio.frames:
                if stopped.is_set():
                    return
                stream.send(frame)
            stream.finish()
        except Emotion2VecError:
            pass  # The thread that receives reports it.

    # A daemon, because a read from stdin cannot be interrupted.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        audio.stop()


def write_json(event: StreamEvent) -> None:
    """Prints a measurement as a line of JSON."""
    if not isinstance(event, Measurement):
        return
    row: dict[str, Any] = {
        "kind": event.kind,
        "channel": event.channel,
        **({"speaker": event.speaker} if event.speaker else {}),
        "start": event.start,
        "end": event.end,
    }
    if event.speech is not None:
        row["speech"] = event.speech
    row |= {"error": str(event.error)} if event.error else event.unwrap().to_dict()
    print(json.dumps(row, ensure_ascii=False), flush=True)


def show_line(event: StreamEvent) -> None:
    """Shows an event in the last line of a terminal; a final measurement stays there."""
    who = f"{event.speaker}: " if event.speaker else ""
    if isinstance(event, SpeechStarted):
        line = f"{clock(event.start):>8}  {who}…"
    elif isinstance(event, SpeechEnded):
        return
    elif event.error is not None:
        line = f"{clock(event.start):>8}  {who}{event.error}\n"
    else:
        prediction = event.unwrap()
        label, made = prediction.label, prediction.policy
        answer = f"   {made.label} {percent(made.confidence)}" if made else ""
        line = (
            f"{clock(event.start):>8}  {who}{label.emoji} {label.chinese} {label.name:<9} "
            f"{percent(prediction.confidence):>7} {bar(prediction.confidence, 20):<20}{answer}"
            + ("\n" if event.kind == "final" else "  …")
        )
    print(f"\r\033[K{line}", end="", flush=True)
