"""The command ``emotion2vec listen``."""

import json
import queue
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Callable, Optional, cast

import typer

from emotion2vec_client._stream import (
    Encoding,
    Measurement,
    SpeechEnded,
    SpeechStarted,
    Stream,
    StreamEvent,
)
from emotion2vec_client.cli.common import flag
from emotion2vec_client.cli.connection import Connection, connects
from emotion2vec_client.cli.display import bar, percent, replace_unprintable
from emotion2vec_client.cli.judging import PolicyOption, load
from emotion2vec_client.cli.strip import clock
from emotion2vec_client.errors import Emotion2VecError, ServerUnavailableError

ENDS = {
    "idle": "no audio came for too long",
    "too_long": "it has reached its longest time (E2V_STREAM_SECONDS)",
    "too_many_errors": "it had too many errors",
}
"""What to say about each reason of `StreamTotals`."""

FRAME_SECONDS = 0.02
HEADER_BYTES = 2**16
"""Longest header of a WAV stream: programs put a title in front of the samples at most."""

FILES = (b"OggS", b"ID3", b"fLaC", b"\xff\xfb", b"\x1a\x45\xdf\xa3", b"#!AMR")
"""First bytes of files that are no samples."""

BLOCK = 2**14
ENDLESS = 2**62

WAVE_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (1, 16): "s16le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
"""Encodings by WAV's format tag and bits per sample."""

EXTENSIBLE = 0xFFFE


@dataclass(frozen=True)
class Source:
    """Audio to stream.

    Attributes:
        rate: Samples per second.
        channels: 1 or 2.
        encoding: Of the bytes.
        frames: The bytes, as they come.
        stop: Ends the frames.
    """

    rate: int
    channels: int
    encoding: Encoding
    frames: Iterator[bytes]
    stop: Callable[[], None] = lambda: None


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
    separate: Annotated[
        bool, flag("--separate", help="Each channel is a speaker; otherwise they are mixed.")
    ] = False,
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
    if encoding not in WAVE_ENCODINGS.values():
        raise typer.BadParameter(f"--encoding is {encoding!r}: use s16le, mulaw or alaw")
    if source == "-":
        audio = read_stream(sys.stdin.buffer, rate, channels, cast(Encoding, encoding))
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


def record(device: Optional[str], rate: int, channels: int) -> Source:
    """Records from a microphone.

    Raises:
        Emotion2VecError: The package or PortAudio is missing, or the device cannot be used.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise Emotion2VecError(
            "the microphone needs the package sounddevice: pip install './client[microphone]'; "
            "or send audio to stdin and use 'emotion2vec listen -'"
        ) from error
    except OSError as error:
        raise Emotion2VecError(
            "the microphone needs PortAudio (Debian: libportaudio2), which is not installed"
        ) from error
    recorded: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    try:
        stream = sounddevice.RawInputStream(
            samplerate=rate,
            channels=channels,
            dtype="int16",
            device=int(device) if device and device.isdigit() else device,
            blocksize=int(rate * FRAME_SECONDS),
            callback=lambda data, *_: recorded.put(bytes(data)),
        )
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise Emotion2VecError(
            f"the microphone cannot be used ({error}): 'python -m sounddevice' lists the devices"
        ) from error

    def stop() -> None:
        stream.close()
        recorded.put(b"")

    return Source(rate, channels, "s16le", iter(recorded.get, b""), stop)


def read_stream(file: BinaryIO, rate: int, channels: int, encoding: Encoding) -> Source:
    """Reads raw samples, or a WAV stream, whose header says what it is.

    Raises:
        Emotion2VecError: It is a compressed file, or a WAV stream with an encoding or a number of
            channels that no stream has.
    """
    left = ENDLESS
    start = file.read(12)
    if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        rate, channels, encoding, left = read_header(file)
        start = b""
    elif start.startswith(FILES) or start[4:8] == b"ftyp":
        raise Emotion2VecError(
            "stdin is a compressed file: decode it first, such as with 'ffmpeg -i FILE -f wav -', "
            "or use 'emotion2vec timeline FILE'"
        )
    stopped = threading.Event()

    def frames() -> Iterator[bytes]:
        if start:
            yield start
        read = 0
        while not stopped.is_set() and read < left:
            # What is there, so that no sample waits for a full buffer.
            data = file.read1(min(BLOCK, left - read))  # type: ignore[attr-defined]
            if not data:
                return
            read += len(data)
            yield data

    return Source(rate, channels, encoding, frames(), stopped.set)


def read_header(file: BinaryIO) -> tuple[int, int, Encoding, int]:
    """Rate, channels, encoding and bytes of a WAV stream; reads up to its samples."""
    form, left = b"", HEADER_BYTES
    while left > 0:
        name, size = struct.unpack("<4sI", _exactly(file, 8))
        if name == b"data":
            break
        left -= size + 8
        content = _exactly(file, min(size + size % 2, HEADER_BYTES))
        if name == b"fmt ":
            form = content
    if len(form) < 16 or left <= 0:
        raise Emotion2VecError("stdin is a WAV stream without a format before its samples")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack("<H", form[24:26])
    encoding = WAVE_ENCODINGS.get((tag, bits))
    if encoding is None or channels not in (1, 2):
        raise Emotion2VecError(
            f"stdin is a WAV stream of {channels} channels with {bits} bits (format {tag}): send "
            "16-bit PCM, mu-law or A-law in one or two channels, such as "
            "'ffmpeg … -c:a pcm_s16le -ac 1 -f wav -'"
        )
    # A program that writes to a pipe does not know the size.
    return rate, channels, encoding, ENDLESS if size in (0, 2**32 - 1) else size


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise Emotion2VecError("stdin is a WAV stream that ends within its header")
    return data


def write_json(event: StreamEvent) -> None:
    """Prints a measurement as a line of JSON."""
    if not isinstance(event, Measurement):
        return
    row: dict[str, Any] = {
        "kind": event.kind,
        "channel": event.channel,
        "start": event.start,
        "end": event.end,
    }
    if event.speech is not None:
        row["speech"] = event.speech
    row |= {"error": str(event.error)} if event.error else event.unwrap().to_dict()
    print(json.dumps(row, ensure_ascii=False), flush=True)


def show_line(event: StreamEvent) -> None:
    """Shows an event in the last line of a terminal; a final measurement stays there."""
    who = f"{event.channel + 1}: " if event.channel else ""
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
