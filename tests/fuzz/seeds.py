"""One short, good file of every supported container and codec."""

from __future__ import annotations

import io
from functools import cache

import av
import numpy as np
import soundfile

from tests.conftest import recordings, speech_like

RATE = 16_000
SOUNDFILE = [
    *(("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("WAV", kind) for kind in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16")),
    *(("AIFF", kind) for kind in ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW")),
    *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
]
PYAV: list[tuple[str, str, int, dict[str, str]]] = [
    ("mp3", "libmp3lame", 16_000, {}),
    ("mp3", "libmp3lame", 44_100, {"write_xing": "0"}),
    ("adts", "aac", 16_000, {}),
    ("ipod", "aac", 44_100, {}),
    ("mp4", "aac", 16_000, {"movflags": "frag_keyframe+empty_moov"}),
    ("mp4", "libopus", 48_000, {}),
    ("mp4", "flac", 16_000, {"strict": "-2"}),
    ("mov", "alac", 16_000, {}),
    ("mov", "pcm_s16le", 16_000, {}),
    ("mov", "pcm_s24be", 16_000, {}),
    ("webm", "libopus", 48_000, {}),
    ("matroska", "aac", 16_000, {}),
    ("matroska", "pcm_s16le", 16_000, {}),
    ("ogg", "libopus", 48_000, {}),
    ("ogg", "flac", 16_000, {}),
    ("amr", "libopencore_amrnb", 8_000, {}),
    ("3gp", "libopencore_amrnb", 8_000, {}),
]


def with_soundfile(
    container: str, subtype: str, samples: np.ndarray, rate: int = RATE, endian: str = "FILE"
) -> bytes:
    """A file that libsndfile writes from float32 [n] or [n, channels]."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype, endian=endian)
    return file.getvalue()


def with_pyav(
    container: str, codec: str, rate: int, options: dict[str, str], samples: np.ndarray
) -> bytes:
    """A file that FFmpeg writes from float32 [n]."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        # Codecs without a frame size accept any.
        step = stream.codec_context.frame_size or 1_024
        fifo = av.AudioFifo()
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis].astype(np.float32), "fltp", "mono")
        frame.sample_rate = rate
        convert = av.AudioResampler(stream.format.name, "mono", rate)
        for converted in [*convert.resample(frame), *convert.resample(None)]:
            fifo.write(converted)
        while part := fifo.read(step, partial=True):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


@cache
def seeds() -> dict[str, bytes]:
    """All these files and the project's recordings, by name."""
    files = {path.name: path.read_bytes() for path in recordings()}
    clip = speech_like(RATE // 2).clip(-1, 1)
    for container, subtype in SOUNDFILE:
        files[f"{container} {subtype}"] = with_soundfile(container, subtype, clip)
    stereo = np.stack([clip, clip / 2], axis=1)
    files["WAV of 2 channels"] = with_soundfile("WAV", "PCM_16", stereo)
    eight = np.stack([clip / (i + 1) for i in range(8)], axis=1)
    for container, subtype in [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")]:
        files[f"{container} {subtype} of 8 channels"] = with_soundfile(container, subtype, eight)
    for container, codec, rate, options in PYAV:
        name = " ".join([container, codec, str(rate), *options])
        longer = speech_like(rate // 2).clip(-1, 1)
        files[name] = with_pyav(container, codec, rate, options, longer)
    return files
