"""Audio file bytes to a waveform of 16 kHz: the only place where audio is decoded.

`sandbox.py` runs it in a process of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import av
import numpy as np
import soxr

from audio.layout import SAMPLE_RATE
from audio.limits import AudioError, Limits

CODECS = {
    *("aac", "alac", "flac", "mp1float", "mp2float", "mp3float", "opus", "vorbis"),
    *("amrnb", "amrwb", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "gsm_ms"),
    *("pcm_u8", "pcm_s8", "pcm_mulaw", "pcm_alaw"),
    *(f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")),
}

OPTIONS = {
    # No playlist is among them: nothing that opens a file or an address named in the input.
    "format_whitelist": "wav,aiff,caf,flac,ogg,mp3,aac,amr,mov,matroska",
    # No decoder of pictures is opened either, which FFmpeg would do to find their size.
    "codec_whitelist": ",".join(sorted(CODECS)),
    "max_streams": "16",
    # FFmpeg reads this far to find out what a file leaves unsaid, and WAV in pieces of this size;
    # its defaults are many megabytes and 4 kB, which takes five times as long.
    "probesize": "65536",
    "max_size": "65536",
}

MAGIC = re.compile(
    rb"RIFF....WAVE|RF64....WAVE|FORM....AIF[FC]|caff|fLaC|OggS|ID3|\xff[\xe0-\xff]"
    rb"|#!AMR|....(ftyp|moov|mdat|wide)|\x1a\x45\xdf\xa3",
    re.DOTALL,
)
"""How a file starts that is audio of a kind that is read, even if what follows cannot be."""

SAMPLE_FORMATS = {
    "u8": (np.uint8, 2.0**7),
    "s16": (np.int16, 2.0**15),
    "s32": (np.int32, 2.0**31),
    "s64": (np.int64, 2.0**63),
    "flt": (np.float32, 1.0),
    "dbl": (np.float64, 1.0),
}
"""FFmpeg's names, and what stands for 1.0 in each."""

BLOCK_SAMPLES = 2**16

STATES_LENGTH = {"aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Formats whose header states a length that is either true or that of a damaged file."""

TRUNCATED_SECONDS = 0.1
"""How much less than its header says a complete file may hold: encoders' padding."""


@dataclass(frozen=True)
class Decoded:
    """A clip, or a block of a recording, as the encoder hears it before normalisation.

    Attributes:
        samples: float32 [n] at 16 kHz, in -1..1 for audio that is not clipped.
        source_rate: Samples per second in the file.
        position: How much of the file has been read for it, 0 to 1.
    """

    samples: np.ndarray
    source_rate: int
    position: float = 1.0


def decode(data: bytes, limits: Limits) -> Decoded:
    """Decodes an audio file to 16 kHz mono.

    Args:
        data: The whole file.
        limits: What is accepted.

    Raises:
        AudioError: The audio cannot be used; its `reason` is one of `REASONS`.
    """
    return join(stream(data, limits))


def join(blocks: Iterable[Decoded]) -> Decoded:
    """Makes one clip of the blocks that `stream` gives."""
    blocks = list(blocks)
    return Decoded(np.concatenate([block.samples for block in blocks]), blocks[-1].source_rate)


def stream(data: bytes, limits: Limits) -> Iterator[Decoded]:
    """Decodes an audio file to 16 kHz mono, block by block.

    Each frame is checked, mixed down and resampled as it is decoded: whatever a file claims or
    unfolds to, no more is held than a few frames.

    Args:
        data: The whole file.
        limits: What is accepted.

    Yields:
        At least one block.

    Raises:
        AudioError: The audio cannot be used; its `reason` is one of `REASONS`. It may come after
            many good blocks.
    """
    limits.check_bytes(len(data))
    clip = _Clip(limits)
    count = 0
    position = 0.0
    for frame, byte in _frames(data, limits):
        position = max(position, byte / len(data))
        samples = clip.add(frame)
        if len(samples):
            count += len(samples)
            yield Decoded(samples, clip.rate, position)
    samples = clip.finish()
    limits.check_shortest((count + len(samples)) / SAMPLE_RATE)
    yield Decoded(samples, clip.rate)


NOTHING = np.zeros(0, np.float32)


class _Clip:
    """What is decoded: checked, mixed down and resampled as it comes."""

    def __init__(self, limits: Limits) -> None:
        self.rate = 0
        self._limits = limits
        self._count = 0
        self._channels = 0
        self._waiting: list[np.ndarray] = []
        self._waiting_samples = 0

    def add(self, frame: av.AudioFrame) -> np.ndarray:
        """Takes a frame; returns the samples that are ready, float32 [n] at 16 kHz."""
        ready = NOTHING
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not self.rate:
            self.rate = rate
            self._limits.check_rate(rate)
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        if rate != self.rate:
            raise AudioError(
                "unsupported",
                f"the sample rate changes from {self.rate} to {rate} within the file: "
                "send one recording per file",
            )
        if channels != self._channels:
            self._limits.check_channels(channels)
            ready = self._mix_waiting()
            self._channels = channels
        self._count += frame.samples
        self._limits.check_longest(self._count / rate)
        # The frames of some codecs hold few samples, and what follows has its price per call.
        self._waiting.append(_scaled(frame))
        self._waiting_samples += frame.samples * channels
        if self._waiting_samples >= BLOCK_SAMPLES:
            ready = np.concatenate([ready, self._mix_waiting()])
        return ready

    def finish(self) -> np.ndarray:
        """Returns the last samples."""
        if not self._count:
            raise AudioError(
                "damaged", "the file has a header but no samples: send the complete file"
            )
        ready = self._mix_waiting()
        return np.concatenate([ready, self._resampled(NOTHING, last=True)])

    def _mix_waiting(self) -> np.ndarray:
        if not self._waiting:
            return NOTHING
        block = np.concatenate(self._waiting)
        self._waiting.clear()
        self._waiting_samples = 0
        # Absurd samples overflow on the way; what comes of them is refused.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._resampled(block.mean(axis=1, dtype=np.float32))

    def _resampled(self, mono: np.ndarray, last: bool = False) -> np.ndarray:
        samples = self._resampler.resample_chunk(mono, last=last)
        if not np.isfinite(samples).all():
            raise AudioError(
                "damaged",
                "the file holds samples that are not numbers (NaN or infinite): write it again",
            )
        return samples


def _scaled(frame: av.AudioFrame) -> np.ndarray:
    """Returns a frame's samples, float32 [n, channels] in -1..1."""
    channels = frame.layout.nb_channels
    kind = frame.format.name.removesuffix("p")
    dtype, full_scale = SAMPLE_FORMATS[kind]
    if frame.format.is_planar:
        # PyAV's own to_ndarray() looks for a plane behind the eighth, and crashes.
        planes = frame.planes[:channels]
        samples = np.stack([np.frombuffer(p, dtype, frame.samples) for p in planes], axis=1)
    else:
        samples = np.frombuffer(frame.planes[0], dtype, frame.samples * channels)
        samples = samples.reshape(-1, channels)
    if kind == "flt":
        return samples
    if kind == "u8":
        samples = samples.astype(np.int16) - 128
    # Absurd doubles overflow; what comes of it is refused in the end.
    with np.errstate(over="ignore"):
        return (samples / full_scale).astype(np.float32)


def _frames(data: bytes, limits: Limits) -> Iterator[tuple[av.AudioFrame, int]]:
    """The frames, each with where in the file it was."""
    try:
        with av.open(
            io.BytesIO(data),
            container_options=OPTIONS,
            io_open=_open_nothing,
            # Titles in another character set than UTF-8 are no reason to fail.
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
    """FFmpeg asks here for every file or address that the input refers to."""
    raise PermissionError("a file that refers to another")


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
    # Nobody shall wait until two hours are decoded to hear that the third is too much.
    limits.check_longest(stated)
    seconds = 0.0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            # Programs append lyrics and tags of their own to MP3, which are no frames.
            if name != "mp3":
                raise
            continue
        for frame in frames:
            yield frame, packet.pos or 0
            seconds += frame.samples / frame.sample_rate
    # FFmpeg notices itself where other formats end too early. WAV is left out: recorders that
    # stream cannot know the length when they write the header.
    if name in ("mp3", "aiff") and 0 < seconds < stated - TRUNCATED_SECONDS:
        raise AudioError(
            "damaged",
            f"the {name.upper()} file is truncated: its header says {stated:.1f} s, but it holds "
            f"{seconds:.1f} s; send the complete file",
        )


def _mp3_seconds(data: bytes, rate: int) -> float:
    """Reads how long an MP3 is at least from the index that LAME and FFmpeg write; 0 without one.

    FFmpeg's own value is of no use: without an index, or with a tag behind the last frame, it is a
    guess from the first frame's bit rate.
    """
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        high, upper, lower, low = (byte & 0x7F for byte in data[6:10])
        start = 10 + (high << 21 | upper << 14 | lower << 7 | low)
    # Four bytes of flags, the first of which says that the number of frames follows.
    index = re.search(rb"(?:Xing|Info)...([^\0])(....)", data[start : start + 64], re.DOTALL)
    if not index or not index[1][0] & 1:
        return 0.0
    # Less the encoder's delay and padding, which decoding removes.
    frames = int.from_bytes(index[2], "big") - 3
    return frames * (1152 if rate >= 32_000 else 576) / rate
