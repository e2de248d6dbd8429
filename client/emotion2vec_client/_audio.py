"""Turns every accepted form of audio into the bytes of a file."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""The model's sample rate in Hz."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """A clip as the model hears it.

    Attributes:
        samples: float32 [n] at 16 kHz, mono, in -1..1 for audio that is not clipped; read-only.
        source_rate: Sample rate of the original file in Hz.
        inputs: Tensors for the encoder, which `Client.predict` sends.
    """

    samples: npt.NDArray[np.float32]
    source_rate: int
    inputs: Mapping[str, npt.NDArray[Any]] = field(repr=False)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE

    def wav_bytes(self) -> bytes:
        """The samples as a WAV file of 32-bit floats, without loss."""
        return wav_bytes(self.samples, SAMPLE_RATE)


Samples = tuple[npt.NDArray[Any], int]
Audio = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, Samples, Waveform]

WAVE_PCM, WAVE_FLOAT = 1, 3
MAX_CHANNELS = 8


def file_bytes(audio: Audio) -> bytes:
    """The bytes of a file to send.

    Args:
        audio: A path, bytes, a binary file object (read from its current position), or a pair of
            samples and sample rate in Hz, see `wav_bytes`.

    Raises:
        TypeError: It is none of these.
        ValueError: The samples or their rate are unusable.
        OSError: The file cannot be read.
    """
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return bytes(audio)
    if isinstance(audio, (str, os.PathLike)):
        return Path(audio).read_bytes()
    if isinstance(audio, Waveform):
        return audio.wav_bytes()
    if isinstance(audio, tuple) and len(audio) == 2:
        if np.ndim(audio[0]) == 0 and np.ndim(audio[1]) > 0:
            raise TypeError(
                "audio is (sample_rate, samples), as scipy.io.wavfile reads it: give "
                "(samples, sample_rate)"
            )
        return wav_bytes(*audio)
    if isinstance(audio, np.ndarray):
        raise TypeError("audio is an array without its sample rate: give (samples, sample_rate)")
    if not hasattr(audio, "read"):
        raise TypeError(
            f"audio is a {type(audio).__name__}: give a path, bytes, a binary file object or "
            "(samples, sample_rate)"
        )
    data = audio.read()
    if not isinstance(data, bytes):
        raise TypeError(
            f"the file object gives {type(data).__name__} and not bytes: open it in binary mode "
            "('rb')"
        )
    return data


def wav_bytes(samples: npt.ArrayLike, sample_rate: int) -> bytes:
    """Samples as a WAV file, without loss.

    Args:
        samples: [n], [n, channels] or [channels, n]; the shorter axis holds the channels. Full
            scale is -1 to 1 for floats, and the whole range of the type for integers. float64
            becomes float32, to which the server decodes anyway.
        sample_rate: In Hz.

    Raises:
        TypeError: The samples' full scale is unknown, or the rate is not a whole number.
        ValueError: The shape or the rate is not one of audio.
    """
    array = np.asarray(samples)
    if int(sample_rate) != sample_rate or isinstance(sample_rate, bool):
        raise TypeError(f"sample_rate is {sample_rate!r}: give a whole number of Hz")
    if not 0 < sample_rate < 2**32:
        raise ValueError(f"sample_rate is {sample_rate}: give a positive number of Hz")
    if array.ndim == 1:
        array = array[:, np.newaxis]
    elif array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_CHANNELS:
        raise ValueError(
            f"samples have shape {np.shape(samples)}: give [n], [n, channels] or [channels, n] "
            f"with up to {MAX_CHANNELS} channels"
        )
    array, kind = _wave_samples(array)
    data = np.ascontiguousarray(array).tobytes()
    width = array.dtype.itemsize
    channels = array.shape[1]
    layout = struct.pack(
        "<HHIIHH",
        kind,
        channels,
        int(sample_rate),
        int(sample_rate) * channels * width,
        channels * width,
        width * 8,
    )
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _wave_samples(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """The array in a type that WAV supports, and WAV's number for the encoding."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f":
        return array.astype("<f4"), WAVE_FLOAT
    if kind == "i" and size in (2, 4):
        return array.astype(f"<i{size}"), WAVE_PCM
    if kind == "u" and size == 1:
        return array, WAVE_PCM
    if kind == "i" and size == 1:
        return array.astype("<i2") * np.int16(256), WAVE_PCM
    if kind == "u" and size in (2, 4):
        half = 1 << (8 * size - 1)
        return (array.astype(np.int64) - half).astype(f"<i{size}"), WAVE_PCM
    raise TypeError(
        f"samples are {array.dtype}, whose full scale is not known: convert them to float32 "
        "(-1 to 1) or int16"
    )
