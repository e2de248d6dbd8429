"""Where ``emotion2vec listen`` hears: the microphone, or a stream on stdin."""

from __future__ import annotations

import queue
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Callable

from emotion2vec_client._stream import Encoding
from emotion2vec_client.errors import Emotion2VecError

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

ENCODINGS = tuple(WAVE_ENCODINGS.values())

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


def record(device: str | None, rate: int, channels: int) -> Source:
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
