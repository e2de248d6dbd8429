"""Makes the recordings of this folder by speech synthesis: ``python samples/make.py``.

A given version of espeak-ng produces the same samples on every run, because it computes them by
rules (only the .ogg files change: they contain a random stream number). The tests also use
`encode`, to write one signal in all six formats.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent

CODECS: dict[str, tuple[str, dict[str, str], str]] = {
    ".mp3": ("libmp3lame", {}, "mp3"),
    # FFmpeg's default AAC coder reproduces this speech less exactly at the same bit rate.
    ".m4a": ("aac", {"aac_coder": "fast"}, "ipod"),
    ".opus": ("libopus", {}, "ogg"),
}
"""Encoder, its options and the container for each suffix that PyAV writes."""

SUBTYPES = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS"}
"""Sample encoding for each suffix that soundfile writes (PyAV is built without libvorbis)."""

BITS_PER_CHANNEL = 64_000
"""Bit rate of each channel in the lossy formats, in bits per second."""

BEST_VORBIS = 160_000
"""Bit rate that selects libvorbis's best quality; libvorbis takes a quality, not a rate."""


@dataclass(frozen=True)
class Recording:
    """One file of this folder.

    Attributes:
        name: File name; the suffix chooses the format.
        rate: Samples per second.
        channels: 1 or 2.
        voice: Voice of espeak-ng: a language, or a language, ``+`` and a variant.
        speed: Words per minute; 175 is espeak-ng's default.
        pitch: 0 to 99; 50 is espeak-ng's default.
    """

    name: str
    rate: int
    channels: int
    voice: str
    speed: int
    pitch: int


# espeak-ng's plain "cmn" voice spells Chinese characters out in English letters; the one named
# after Pinyin speaks them.
SENTENCES = {
    Recording("happy.wav", 44_100, 2, "en-us+f3", 185, 80): (
        "This is wonderful! I am so happy that you came to see us!"
    ),
    Recording("sad.mp3", 44_100, 1, "en-gb", 105, 15): (
        "I miss her every day. The house is so quiet now."
    ),
    Recording("angry.flac", 48_000, 1, "de+m3", 200, 35): (
        "Das ist doch eine Frechheit! Jetzt reicht es mir!"
    ),
    Recording("fearful.m4a", 44_100, 2, "en-us+f5", 215, 90): (
        "Did you hear that? Somebody is in the house. Please, please, do not open the door!"
    ),
    Recording("surprised.opus", 48_000, 1, "fr-fr+f2", 170, 85): "Quoi ? C'est incroyable !",
    Recording("disgusted.mp3", 22_050, 2, "es+m5", 130, 30): "¡Qué asco! Esto huele fatal.",
    Recording("neutral.wav", 16_000, 1, "en-us", 165, 50): (
        "The next train leaves from platform four."
    ),
    Recording("mandarin.ogg", 32_000, 1, "cmn-latn-pinyin+f3", 170, 60): (
        "今天天气很好。我们一起去公园吧。"
    ),
    Recording("short.wav", 8_000, 1, "en-gb+f2", 150, 55): "Good morning.",
    Recording("story.ogg", 44_100, 2, "en-gb+m1", 160, 45): (
        "In the morning the fishermen pushed their boats into the water. By noon the wind had "
        "turned, and the women on the shore began to count the sails. One after another they came "
        "home, all but the smallest."
    ),
}
"""What is said in each recording."""


def encode(
    samples: NDArray[np.float32],
    rate: int,
    path: Path | str,
    bits_per_channel: int = BITS_PER_CHANNEL,
) -> None:
    """Writes a signal to an audio file, in the format that the suffix names.

    Args:
        samples: Signal, float32, [n] (mono) or [n, 2] (stereo), -1 to 1; clipped beyond.
        rate: Samples per second. If a codec does not support it, the signal is resampled to the
            next higher rate that the codec supports, or its highest; Opus is always at 48 kHz.
        path: File to write: .wav and .flac (16 bits), .ogg (Vorbis), .mp3, .m4a (AAC) or .opus.
        bits_per_channel: Bit rate of each channel in the lossy formats, in bits per second.

    Raises:
        ValueError: The suffix is none of these, or the signal is empty or neither mono nor stereo.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUBTYPES | CODECS:
        known = ", ".join(sorted(SUBTYPES | CODECS))
        raise ValueError(f"cannot encode {path}: the suffix must be one of {known}")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] not in (1, 2)):
        raise ValueError(f"cannot encode samples of shape {samples.shape}: expected [n] or [n, 2]")
    if not len(samples):
        raise ValueError(f"cannot encode {path}: there are no samples")
    columns = samples if samples.ndim == 2 else samples[:, np.newaxis]
    columns = columns.astype(np.float32, copy=False)
    if suffix in SUBTYPES:
        _write_soundfile(columns, rate, str(path), suffix, bits_per_channel)
    else:
        _write_av(columns, rate, str(path), suffix, bits_per_channel)


def _write_soundfile(
    columns: NDArray[np.float32], rate: int, path: str, suffix: str, bits_per_channel: int
) -> None:
    """Writes float32 [n, channels] with soundfile."""
    compression = max(0.0, 1 - bits_per_channel / BEST_VORBIS) if suffix == ".ogg" else None
    with soundfile.SoundFile(
        path, "w", rate, columns.shape[1], SUBTYPES[suffix], compression_level=compression
    ) as f:
        # One second per call: libvorbis keeps the samples of a call on the stack, which a long
        # recording would overflow (libsndfile#1095).
        for start in range(0, len(columns), rate):
            f.write(np.clip(columns[start : start + rate], -1, 1))


def _write_av(
    columns: NDArray[np.float32], rate: int, path: str, suffix: str, bits_per_channel: int
) -> None:
    """Writes float32 [n, channels] with PyAV, which cuts it into the frames the codec needs."""
    codec, options, container = CODECS[suffix]
    taken = [48_000] if suffix == ".opus" else sorted(av.Codec(codec, "w").audio_rates or [])
    coded_rate = next((r for r in taken if r >= rate), taken[-1])
    if coded_rate != rate:
        columns = soxr.resample(columns, rate, coded_rate)
    layout = "mono" if columns.shape[1] == 1 else "stereo"
    planes = np.ascontiguousarray(np.clip(columns, -1, 1).T)  # [channels, n]
    frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
    frame.sample_rate = coded_rate
    # Without timestamps, the encoder's 1024 samples of lead-in become part of the recording.
    frame.pts, frame.time_base = 0, Fraction(1, coded_rate)
    # "bitexact" omits what differs from run to run: Ogg's random serial number.
    with av.open(path, "w", format=container, options={"fflags": "bitexact"}) as output:
        stream = output.add_stream(codec, rate=coded_rate, layout=layout, options=options)
        assert isinstance(stream, av.AudioStream)  # mypy cannot infer this from the codec's name.
        stream.bit_rate = bits_per_channel * columns.shape[1]
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))  # The last, partly filled frame.


def synthesise(recording: Recording, text: str) -> NDArray[np.float32]:
    """Speaks a text in a recording's voice; returns float32 [n] or [n, 2] at its rate."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        manner = ["-v", recording.voice, "-s", str(recording.speed), "-p", str(recording.pitch)]
        # -b 1: the text is UTF-8, whatever the locale says.
        subprocess.run(["espeak-ng", "-b", "1", *manner, "-w", str(spoken), text], check=True)
        signal, rate = soundfile.read(spoken, dtype="float32")
    mono: NDArray[np.float32] = soxr.resample(signal, rate, recording.rate)
    if recording.channels == 1:
        return mono
    # The left channel is louder, so that a test notices if one channel is taken instead of the
    # mean of both.
    return np.stack([mono, np.float32(0.6) * mono], axis=1)


def main() -> None:
    """Writes every recording into this folder and prints its length."""
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng was not found: install the Debian package espeak-ng and try again.")
    for recording, text in SENTENCES.items():
        samples = synthesise(recording, text)
        encode(samples, recording.rate, FOLDER / recording.name)
        print(f"{recording.name}: {len(samples) / recording.rate:.1f} s")


if __name__ == "__main__":
    main()
