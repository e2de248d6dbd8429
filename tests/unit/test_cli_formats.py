"""The command looks in folders for exactly the formats that the server decodes."""

from __future__ import annotations

import io
import re

import av
import numpy as np
import pytest

from audio.decoding import OPTIONS, decode
from emotion2vec_client.cli.files import AUDIO, SUFFIXES
from tests.conftest import speech_like
from tests.fuzz.limits import LIMITS

RATE = 16_000

# FFmpeg's name of the container, and of a codec that is common in it.
FILES = {
    **dict.fromkeys(("wav", "wave"), ("wav", "pcm_s16le")),
    **dict.fromkeys(("aif", "aiff"), ("aiff", "pcm_s16be")),
    "aifc": ("aiff", "pcm_f32be"),
    "caf": ("caf", "alac"),
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "aac": ("adts", "aac"),
    "amr": ("amr", "libopencore_amrnb"),
    **dict.fromkeys(("ogg", "oga", "opus", "ogv"), ("ogg", "libopus")),
    "webm": ("webm", "libopus"),
    **dict.fromkeys(("mka", "mkv"), ("matroska", "flac")),
    **dict.fromkeys(("m4a", "m4b"), ("ipod", "aac")),
    **dict.fromkeys(("mp4", "m4v"), ("mp4", "aac")),
    "mov": ("mov", "pcm_s16le"),
    "3gp": ("3gp", "libopencore_amrnb"),
    "3g2": ("3g2", "aac"),
}


def encoded(container: str, codec: str) -> bytes:
    """A second of sound."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        narrow = "amr" in codec
        stream = output.add_stream(codec, rate=8_000 if narrow else RATE, layout="mono")
        if narrow:
            stream.bit_rate = 12_200
        samples = (speech_like(RATE) * 30_000).clip(-32_768, 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def amr_wb() -> bytes:
    """AMR wideband, for which there is no encoder: 50 frames of the highest rate."""
    frame = b"\x44" + np.random.default_rng(0).bytes(60)
    return b"#!AMR-WB\n" + frame * 50


def test_the_server_reads_a_file_of_every_suffix() -> None:
    files = {suffix: encoded(*kind) for suffix, kind in FILES.items()}
    files["awb"] = amr_wb()
    assert {f".{suffix}" for suffix in files} == SUFFIXES
    read = set()
    for suffix, data in files.items():
        decoded = decode(data, LIMITS)
        assert len(decoded.samples) / RATE == pytest.approx(1, abs=0.15), suffix
        with av.open(io.BytesIO(data), container_options=OPTIONS) as container:
            read.update(container.format.name.split(","))
        # The command must recognise such bytes on stdin as audio and not as file names.
        assert AUDIO.match(data), suffix
    # Every format of the server must have a suffix.
    wanted = re.split(",", OPTIONS["format_whitelist"])
    assert set(wanted) <= read
