"""Decoding without Triton: every format, every limit, every kind of damaged file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from audio.decoding import decode
from audio.layout import lay_out
from audio.limits import AudioError
from samples.make import encode
from tests.conftest import SAMPLES, recordings, speech_like
from tests.fuzz.limits import LIMITS
from tests.fuzz.seeds import seeds, with_soundfile


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "FLOAT") -> bytes:
    """The bytes of a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name)
def test_every_sample_recording_decodes(path: Path) -> None:
    samples = decode(path.read_bytes(), LIMITS).samples
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 1 <= len(samples) / 16_000 <= 13
    assert 0.01 < np.abs(samples).max() <= 1.5


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a", "ogg", "opus"])
def test_formats_give_back_what_was_encoded(suffix: str, tmp_path: Path) -> None:
    time = np.arange(48_000 * 2) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    encode(tone, 48_000, tmp_path / f"tone.{suffix}")
    samples = decode((tmp_path / f"tone.{suffix}").read_bytes(), LIMITS).samples
    assert len(samples) / 16_000 == pytest.approx(2, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(440, abs=2)
    middle = samples[8_000:24_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_samples_at_16_khz_come_through_unchanged() -> None:
    clip = speech_like(8_000)
    np.testing.assert_array_equal(decode(wav(clip), LIMITS).samples, clip)


def test_channels_are_averaged() -> None:
    left, right = speech_like(8_000, 1), speech_like(8_000, 2)
    mixed = decode(wav(np.stack([left, right], axis=1)), LIMITS).samples
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=1e-7)


CONTAINERS = ["WAV", "WAVEX", "RF64", "AIFF", "CAF"]
SUBTYPES = ["PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
FORMATS = [
    (container, subtype)
    for container in CONTAINERS
    for subtype in SUBTYPES
    if soundfile.check_format(container, subtype)
]


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_sample_formats_decode_as_libsndfile_decodes_them(container: str, subtype: str) -> None:
    data = with_soundfile(container, subtype, speech_like(8_000).clip(-1, 1))
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(decode(data, LIMITS).samples, expected, atol=1e-7)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_telephone_codecs_decode_as_libsndfile_decodes_them(subtype: str) -> None:
    data = with_soundfile("WAV", subtype, speech_like(8_000).clip(-1, 1) * 0.8)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    samples = decode(data, LIMITS).samples[: len(expected)]
    np.testing.assert_allclose(samples, expected[: len(samples)], atol=0.01)
    assert abs(len(samples) - 8_000) <= 160


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 44_100, 48_000, 96_000, 192_000])
def test_rates_are_converted_as_soxr_does_in_one_piece(rate: int) -> None:
    clip = speech_like(rate * 2)
    expected = soxr.resample(clip, rate, 16_000)
    np.testing.assert_array_equal(decode(wav(clip, rate), LIMITS).samples, expected)


@pytest.mark.parametrize("rate", [1_000, 3_999, 192_001, 655_350])
def test_other_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioError, match=f"{rate} samples per second") as caught:
        decode(wav(speech_like(rate // 4), rate), LIMITS)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("channels", [1, 2, 7, 8])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
def test_up_to_eight_channels_are_mixed(container: str, subtype: str, channels: int) -> None:
    clips = np.stack([speech_like(96_000, i).clip(-1, 1) for i in range(channels)], axis=1)
    data = with_soundfile(container, subtype, clips, 48_000)
    columns, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    expected = soxr.resample(columns.mean(axis=1), rate, 16_000)
    samples = decode(data, LIMITS).samples
    assert abs(len(samples) - len(expected)) <= 160
    # Opus decoders differ in how they end a stream.
    np.testing.assert_allclose(samples[:31_800], expected[:31_800], atol=5e-3)


@pytest.mark.parametrize("channels", [9, 64])
def test_more_channels_are_refused(channels: int) -> None:
    data = wav(np.zeros((8_000, channels), np.float32))
    with pytest.raises(AudioError, match=f"{channels} channels and 1 to 8") as caught:
        decode(data, LIMITS)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("place", [0, 3_000, -1])
def test_samples_that_are_not_numbers_are_refused(value: float, rate: int, place: int) -> None:
    clip = speech_like(8_000).astype(np.float64)
    clip[place] = value
    with pytest.raises(AudioError, match="not numbers") as caught:
        decode(wav(clip, rate, "DOUBLE"), LIMITS)
    assert caught.value.reason == "damaged"


def test_the_largest_samples_are_either_finite_or_refused() -> None:
    """A square wave of the largest floats: the resampler's ripple exceeds them."""
    largest = np.finfo(np.float32).max * np.sign(np.sin(np.arange(44_100) / 7)).astype(np.float32)
    with pytest.raises(AudioError, match="not numbers"):
        decode(wav(largest, 44_100), LIMITS)
    waveform, _ = lay_out(decode(wav(largest), LIMITS).samples)
    assert np.isfinite(waveform).all()
    assert np.abs(waveform).max() == pytest.approx(1, abs=0.1)


def test_an_offset_and_the_volume_make_no_difference_to_the_encoder() -> None:
    clip = speech_like(16_000)
    plain, _ = lay_out(decode(wav(clip), LIMITS).samples)
    shifted, _ = lay_out(decode(wav(clip * 0.5 + 0.4), LIMITS).samples)
    np.testing.assert_allclose(plain, shifted, rtol=5e-3, atol=1e-4)


def test_clipped_audio_is_taken_as_it_is() -> None:
    clip = (speech_like(16_000) * 20).clip(-1, 1)
    np.testing.assert_array_equal(decode(wav(clip), LIMITS).samples, clip)


@pytest.mark.parametrize("name", seeds())
def test_every_format_that_is_promised_is_read(name: str) -> None:
    clip = decode(seeds()[name], LIMITS)
    if name not in [path.name for path in recordings()]:
        assert len(clip.samples) / 16_000 == pytest.approx(0.5, abs=0.08)
    assert 0.01 < np.abs(clip.samples).max() <= 1.5


@pytest.mark.parametrize("name", ["sad.mp3", "angry.flac", "fearful.m4a", "neutral.wav"])
@pytest.mark.parametrize("tail", [b"TAG" + b" " * 125, b"LYRICSBEGIN" * 20, bytes(3_000)])
def test_what_programs_append_to_a_file_is_ignored(name: str, tail: bytes) -> None:
    data = (SAMPLES / name).read_bytes()
    expected = decode(data, LIMITS).samples
    samples = decode(data + tail, LIMITS).samples[: len(expected)]
    # FFmpeg ignores an MP3's delay if there is something after its last frame.
    assert abs(len(samples) - len(expected)) <= 1_200
    assert np.abs(samples).max() == pytest.approx(np.abs(expected).max(), rel=0.05)


def test_silence_is_fine() -> None:
    samples = decode(wav(np.zeros(16_000, np.float32)), LIMITS).samples
    waveform, _ = lay_out(samples)
    assert not waveform.any()


@pytest.mark.parametrize("seconds", [0.025, 30, 30.05])
def test_lengths_at_the_limits_are_accepted(seconds: float) -> None:
    clip = np.zeros(round(seconds * 16_000), np.float32)
    assert len(decode(wav(clip), LIMITS).samples) == len(clip)


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def encoded(suffix: str, folder: Path) -> bytes:
    path = folder / f"clip.{suffix}"
    encode(speech_like(48_000), 16_000, path)
    return path.read_bytes()


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    nan = speech_like(8_000)
    nan[100] = np.nan
    cases = {
        b"": ("empty", "the file is empty"),
        b"Dear Sir or Madam,\n" * 50: (
            "not_audio",
            "^this is not an audio file that can be read: send WAV",
        ),
        bytes(11 * 2**20): ("too_large", "11.0 MB and the limit is 10 MB"),
        wav(np.zeros(0, np.float32)): ("damaged", "a header but no samples"),
        wav(speech_like(160)): ("too_short", "lasts 10.0 ms and at least 25 ms"),
        wav(np.zeros(31 * 8_000, np.float32), 8_000): (
            "too_long",
            r"at least 3\d\.\d s and the limit is 30 s",
        ),
        wav(nan): ("damaged", "not numbers"),
        truncated(encoded("mp3", tmp_path)): (
            "damaged",
            "MP3 file is truncated: its header says 3",
        ),
        truncated(encoded("flac", tmp_path)): ("damaged", "damaged or truncated"),
        truncated(encoded("m4a", tmp_path)): ("damaged", "damaged or truncated"),
        wav(speech_like(8_000), rate=300_000): ("unsupported", "300000 samples per second"),
    }
    for data, (reason, sentence) in cases.items():
        with pytest.raises(AudioError, match=sentence) as caught:
            decode(data, LIMITS)
        assert caught.value.reason == reason
        assert "\n" not in str(caught.value)


def test_an_mp3_without_length_is_not_taken_for_truncated(tmp_path: Path) -> None:
    """With variable bit rate and no index, libsndfile guesses seven times the length."""
    data = encoded("mp3", tmp_path)
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    assert tag > 0
    first = data.rfind(b"\xff", 0, tag)
    size = data.find(b"\xff\xf3", tag) if data[first + 1] == 0xF3 else data.find(b"\xff\xfb", tag)
    samples = decode(data[size:], LIMITS).samples
    assert len(samples) / 16_000 == pytest.approx(3, abs=0.2)


def test_a_wav_header_that_claims_too_much_gives_what_is_there() -> None:
    """A streaming recorder does not know the length when it writes the header."""
    data = bytearray(wav(speech_like(16_000), subtype="PCM_16"))
    start = data.index(b"data")
    data[4:8] = data[start + 4 : start + 8] = struct.pack("<I", 0xFFFFFFFF)
    assert len(decode(bytes(data), LIMITS).samples) == 16_000


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 52_345])
def test_the_layout_normalises_like_funasr(samples: int) -> None:
    clip = speech_like(samples) * 0.1 + 0.3
    waveform, frames = lay_out(clip)
    assert waveform.shape == (10 + -(-samples // 320), 320)
    waveform = waveform.ravel()
    assert not waveform[:3200].any()
    assert not waveform[3200 + samples :].any()
    expected = torch.nn.functional.layer_norm(torch.from_numpy(clip), (samples,)).numpy()
    np.testing.assert_allclose(waveform[3200 : 3200 + samples], expected, atol=2e-5)
    # Count frames like torch's convolutions: kernel 10 stride 5, 3/2 four times, 2/2 twice.
    count = samples
    for width, stride in [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]:
        count = (count - width) // stride + 1
    np.testing.assert_array_equal(frames, np.arange(count))
