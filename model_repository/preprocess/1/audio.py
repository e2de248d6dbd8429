"""Audio file bytes to the waveform that the encoder reads: the only place where audio is decoded.

Importable without Triton; `model.py` beside it is the thin backend around it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, get_args

import av
import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
SLOT = 320
WINDOW = 400
EXTRA_SLOTS = 10
NORMALIZE_EPS = 1e-5

CODEC_PADDING_SECONDS = 0.1
"""Encoders pad a clip to whole codec frames: an M4A of 30 s decodes to a little more than 30 s."""

TRUNCATED_SECONDS = 0.1
"""How much less than its header says a complete file may hold: encoders' padding again."""

SAMPLE_RATES = (4_000, 192_000)


Reason = Literal[
    "empty",  # 0 bytes
    "too_large",  # more bytes than the limit
    "not_audio",  # nothing that can be read, or no audio track
    "damaged",  # truncated, a header without samples, samples that are not numbers
    "too_short",
    "too_long",
    "unsupported",  # a sample rate, channel count, container or codec that is not accepted
    "bad_request",  # the request's tensor, not the file in it
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why audio is refused, for programs: clients branch on these words, so they stay as they are."""


class AudioError(ValueError):
    """The user's audio cannot be used; the message says why and what to do, in one sentence.

    Attributes:
        reason: One of `REASONS`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What one request may carry; config.pbtxt holds the values.

    Attributes:
        max_bytes: Size of the file.
        min_seconds: Shortest clip; one frame of the encoder is 25 ms.
        max_seconds: Longest clip.
    """

    max_bytes: int
    min_seconds: float
    max_seconds: float

    def check_bytes(self, size: int) -> None:
        """Raises AudioError for a file that is empty or too large."""
        if not size:
            raise AudioError(
                "empty", "the file is empty (0 bytes): send the bytes of an audio file"
            )
        if size > self.max_bytes:
            raise AudioError(
                "too_large",
                f"the file has {size / 2**20:.1f} MB and the limit is "
                f"{self.max_bytes / 2**20:.0f} MB: send a shorter clip or a compressed format",
            )

    def check_shortest(self, seconds: float) -> None:
        """Raises AudioError for a clip that is too short."""
        if seconds < self.min_seconds:
            raise AudioError(
                "too_short",
                f"the clip lasts {seconds * 1000:.1f} ms and at least "
                f"{self.min_seconds * 1000:.0f} ms are needed: send a longer clip",
            )

    def check_longest(self, seconds: float) -> None:
        """Raises AudioError for a clip that is too long."""
        if seconds > self.max_seconds + CODEC_PADDING_SECONDS:
            raise AudioError(
                "too_long",
                f"the clip lasts at least {seconds:.1f} s and the limit is "
                f"{self.max_seconds:g} s: send a shorter clip or cut it into pieces",
            )

    def max_samples(self, rate: int) -> int:
        """Samples after which decoding stops: just enough to see that a clip is too long."""
        return int((self.max_seconds + CODEC_PADDING_SECONDS) * rate) + 1


@dataclass(frozen=True)
class Decoded:
    """A clip as the encoder hears it, before normalisation.

    Attributes:
        samples: float32 [n] at 16 kHz, in -1..1 for audio that is not clipped.
        source_rate: Samples per second in the file.
    """

    samples: np.ndarray
    source_rate: int


def decode(data: bytes, limits: Limits) -> Decoded:
    """Decodes an audio file to 16 kHz mono.

    libsndfile reads WAV, FLAC, OGG (Vorbis, Opus) and MP3; FFmpeg's libraries read what it does
    not: M4A/AAC, WebM and many more.

    Args:
        data: The whole file.
        limits: What is accepted.

    Raises:
        AudioError: The file is empty, too large, no audio, damaged, too short or too long.
    """
    limits.check_bytes(len(data))
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            samples, rate = _read_soundfile(file, data, limits), file.samplerate
    except soundfile.LibsndfileError:
        samples, rate = _read_ffmpeg(data, limits)
    low, high = SAMPLE_RATES
    if not low <= rate <= high:
        raise AudioError(
            "unsupported",
            f"the file says it has {rate} samples per second: {low} to {high} are supported",
        )
    limits.check_longest(len(samples) / rate)
    if not np.isfinite(samples).all():
        raise AudioError("damaged", "the file holds samples that are not numbers (NaN or infinite)")
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    limits.check_shortest(len(samples) / SAMPLE_RATE)
    return Decoded(samples, rate)


def _read_soundfile(file: soundfile.SoundFile, data: bytes, limits: Limits) -> np.ndarray:
    rate = file.samplerate
    length_known = file.format != "MP3" or _mp3_states_length(data)
    if length_known:
        limits.check_longest(file.frames / rate)
    samples = file.read(limits.max_samples(rate), dtype="float32", always_2d=True)
    if length_known and (file.frames - len(samples)) / rate > TRUNCATED_SECONDS:
        raise AudioError(
            "damaged",
            f"the {file.format} file is truncated: its header says {file.frames / rate:.1f} s, "
            f"but it holds {len(samples) / rate:.1f} s; send the complete file",
        )
    if not len(samples):
        raise AudioError("damaged", f"the {file.format} file has a header but no samples")
    return samples.mean(axis=1)


def _mp3_states_length(data: bytes) -> bool:
    """Whether an MP3 has an index frame (LAME and FFmpeg write one) that states its length.

    Without one, libsndfile guesses the length from the first frame's bit rate, and is wrong by a
    factor of seven for speech in variable bit rate.
    """
    start = 0
    if data[:3] == b"ID3":
        high, upper, lower, low = (byte & 0x7F for byte in data[6:10])
        start = 10 + (high << 21 | upper << 14 | lower << 7 | low)
    first_frame = data[start : start + 64]
    return b"Xing" in first_frame or b"Info" in first_frame


def _read_ffmpeg(data: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    blocks: list[np.ndarray] = []
    try:
        with av.open(io.BytesIO(data)) as container:
            if not container.streams.audio:
                raise AudioError("not_audio", "the file holds no audio track")
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp")
            count = 0
            for decoded in container.decode(stream):
                for frame in planar.resample(decoded):
                    blocks.append(frame.to_ndarray().mean(axis=0))
                    count += frame.samples
                if count > limits.max_samples(stream.rate):
                    break
            rate = stream.rate
    except av.FFmpegError as error:
        if blocks:
            raise AudioError(
                "damaged", "the file is damaged or truncated: send the complete file"
            ) from error
        raise AudioError(
            "not_audio",
            f"this is not an audio file that can be read (it starts with {data[:8]!r}): "
            "send WAV, MP3, M4A, FLAC or OGG",
        ) from error
    if not blocks:
        raise AudioError("damaged", "the file's audio track holds no samples")
    return np.concatenate(blocks), rate


def lay_out(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalises a clip and lays it out in whole 320-sample slots.

    Ten empty slots stand in front, where the encoder puts the clip's extra tokens; zeros fill up
    the last slot. Clips laid out like this batch by plain concatenation.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        The waveform, float32 [(10 + ceil(n / 320)) * 320], and the numbers of the clip's frames,
        int32 [(n - 400) // 320 + 1].
    """
    exact = samples.astype(np.float64)
    centred = exact - exact.mean()
    # As torch.nn.functional.layer_norm over the whole clip, which is what FunASR calls.
    normalised = centred / np.sqrt(np.square(centred).mean() + NORMALIZE_EPS)
    slots = EXTRA_SLOTS + -(-len(samples) // SLOT)
    waveform = np.zeros(slots * SLOT, np.float32)
    start = EXTRA_SLOTS * SLOT
    waveform[start : start + len(samples)] = normalised
    frames = np.arange((len(samples) - WINDOW) // SLOT + 1, dtype=np.int32)
    return waveform, frames
