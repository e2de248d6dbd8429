"""Decodes audio files to 16 kHz; no other module decodes audio.

`sandbox.py` runs this module in a separate process.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import av
import numpy as np

from audio.frames import Frames
from audio.layout import SAMPLE_RATE
from audio.limits import AudioError, Limits

CODECS = {
    *("aac", "alac", "flac", "mp1float", "mp2float", "mp3float", "opus", "vorbis"),
    *("amrnb", "amrwb", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "gsm_ms"),
    *("pcm_u8", "pcm_s8", "pcm_mulaw", "pcm_alaw"),
    *(f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")),
}

OPTIONS = {
    # No playlist formats: the input must not name files or addresses to open.
    "format_whitelist": "wav,aiff,caf,flac,ogg,mp3,aac,amr,mov,matroska",
    # No picture decoders either: FFmpeg would open one to find the size of a picture.
    "codec_whitelist": ",".join(sorted(CODECS)),
    "max_streams": "16",
    # FFmpeg reads at most `probesize` to find out what the header omits, and reads WAV in pieces of
    # `max_size`. Its defaults, many megabytes and 4 kB, take five times as long.
    "probesize": "65536",
    "max_size": "65536",
}

MAGIC = re.compile(
    rb"RIFF....WAVE|RF64....WAVE|FORM....AIF[FC]|caff|fLaC|OggS|ID3|\xff[\xe0-\xff]"
    rb"|#!AMR|....(ftyp|moov|mdat|wide)|\x1a\x45\xdf\xa3",
    re.DOTALL,
)
"""First bytes of the supported formats. An unreadable file that starts so is damaged; any other
is not audio."""

STATES_LENGTH = {"aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Formats whose header states a length that is correct unless the file is damaged."""

TRUNCATED_SECONDS = 0.1
"""A complete file may be this much shorter than its header says, because encoders pad it."""


@dataclass(frozen=True)
class Decoded:
    """A clip, or a block of a recording, before it is normalised for the encoder.

    Attributes:
        samples: float32 [n] at 16 kHz, or [channels, n] if they are kept apart; in -1..1 unless the
            source or the resampling exceeds full scale.
        source_rate: Samples per second in the file.
        position: Share of the file that has been read so far, 0 to 1.
    """

    samples: np.ndarray
    source_rate: int
    position: float = 1.0


def decode(data: bytes, limits: Limits) -> Decoded:
    """Decodes an audio file to 16 kHz mono.

    Args:
        data: The whole file.
        limits: The limits of a request.

    Raises:
        AudioError: The audio cannot be used; its `reason` is one of `REASONS`.
    """
    return join(stream(data, limits))


def join(blocks: Iterable[Decoded]) -> Decoded:
    """Joins the blocks that `stream` yields into one clip."""
    blocks = list(blocks)
    samples = np.concatenate([block.samples for block in blocks], axis=-1)
    return Decoded(samples, blocks[-1].source_rate)


def stream(data: bytes, limits: Limits, separate: bool = False) -> Iterator[Decoded]:
    """Decodes an audio file to 16 kHz, block by block.

    Checks, mixes down and resamples each frame as it is decoded. So it keeps only a few frames in
    memory, whatever length the file claims or decompresses to.

    Args:
        data: The whole file.
        limits: The limits of a request.
        separate: Whether to keep the channels apart, instead of mixing them.

    Yields:
        At least one block.

    Raises:
        AudioError: The audio cannot be used; its `reason` is one of `REASONS`. This may happen
            after many good blocks.
    """
    limits.check_bytes(len(data))
    clip = Frames(limits, separate)
    count = 0
    position = 0.0
    for frame, byte in _frames(data, limits):
        position = max(position, byte / len(data))
        samples = clip.add(frame)
        if samples.size:
            count += samples.shape[1]
            yield Decoded(samples if separate else samples[0], clip.rate, position)
    samples = clip.finish()
    limits.check_shortest((count + samples.shape[1]) / SAMPLE_RATE)
    yield Decoded(samples if separate else samples[0], clip.rate)


def _frames(data: bytes, limits: Limits) -> Iterator[tuple[av.AudioFrame, int]]:
    """Yields the frames, each with its position in the file in bytes."""
    try:
        with av.open(
            io.BytesIO(data),
            container_options=OPTIONS,
            io_open=_open_nothing,
            # A title that is not in UTF-8 must not make the decoding fail.
            metadata_errors="replace",
        ) as container:
            yield from _container_frames(container, data, limits)
    except av.FFmpegError as error:
        if MAGIC.match(data):
            raise AudioError(
                "damaged", "the file is damaged or truncated: send the complete file"
            ) from error
        raise AudioError(
            "not_audio",
            "this is not an audio file that can be read: send WAV, MP3, M4A, FLAC or OGG",
        ) from error


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """Refuses each file or address that the input refers to; FFmpeg calls this to open it."""
    raise PermissionError("the input refers to another file")


def _container_frames(
    container: av.container.InputContainer, data: bytes, limits: Limits
) -> Iterator[tuple[av.AudioFrame, int]]:
    if not container.streams.audio:
        raise AudioError("not_audio", "the file holds no audio track: send a recording")
    stream = container.streams.audio[0]
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all
    codec = stream.codec_context.name if stream.codec_context else "an unknown codec"
    if codec not in CODECS:
        raise AudioError(
            "unsupported",
            f"the file's audio is encoded as {codec}, which is not supported: "
            "send WAV, MP3, M4A, FLAC or OGG",
        )
    stream.codec_context.thread_count = 1
    name = container.format.name
    stated = 0.0
    if name == "mp3" and stream.rate:
        stated = _mp3_seconds(data, stream.rate)
    elif name in STATES_LENGTH and stream.duration:
        stated = float(stream.duration * stream.time_base)
    # Refuse a recording of three hours now, not after decoding two of them.
    limits.check_longest(stated)
    seconds = 0.0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            # Some programs append their own lyrics and tags to MP3, and those are not frames.
            if name != "mp3":
                raise
            continue
        for frame in frames:
            yield frame, packet.pos or 0
            seconds += frame.samples / frame.sample_rate
    # FFmpeg itself notices if other formats end too early. WAV is not checked: recorders that
    # stream do not know the length when they write the header.
    if name in ("mp3", "aiff") and 0 < seconds < stated - TRUNCATED_SECONDS:
        raise AudioError(
            "damaged",
            f"the {name.upper()} file is truncated: its header says {stated:.1f} s, but it holds "
            f"{seconds:.1f} s; send the complete file",
        )


def _mp3_seconds(data: bytes, rate: int) -> float:
    """Reads the minimum length of an MP3 from the index of LAME or FFmpeg; 0 if it has none.

    FFmpeg's own value is useless: without an index, or with a tag after the last frame, FFmpeg
    guesses it from the bit rate of the first frame.
    """
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        high, upper, lower, low = (byte & 0x7F for byte in data[6:10])
        start = 10 + (high << 21 | upper << 14 | lower << 7 | low)
    # Four bytes of flags; the lowest bit says that the number of frames follows.
    index = re.search(rb"(?:Xing|Info)...([^\0])(....)", data[start : start + 64], re.DOTALL)
    if not index or not index[1][0] & 1:
        return 0.0
    # Minus the encoder's delay and padding, which decoding removes.
    frames = int.from_bytes(index[2], "big") - 3
    return frames * (1152 if rate >= 32_000 else 576) / rate
