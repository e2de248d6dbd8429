"""Decoding, without Triton: every format, every limit, every kind of broken file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import audio
from samples.make import encode
from tests.conftest import recordings, speech_like
from tests.fuzz.limits import LIMITS


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "FLOAT") -> bytes:
    """The bytes of a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name)
def test_every_sample_recording_decodes(path: Path) -> None:
    samples = audio.decode(path.read_bytes(), LIMITS).samples
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 1 <= len(samples) / 16_000 <= 13
    assert 0.01 < np.abs(samples).max() <= 1.5


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a", "ogg", "opus"])
def test_formats_give_back_what_was_encoded(suffix: str, tmp_path: Path) -> None:
    time = np.arange(48_000 * 2) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    encode(tone, 48_000, tmp_path / f"tone.{suffix}")
    samples = audio.decode((tmp_path / f"tone.{suffix}").read_bytes(), LIMITS).samples
    assert len(samples) / 16_000 == pytest.approx(2, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(440, abs=2)
    middle = samples[8_000:24_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_samples_at_16_khz_come_through_unchanged() -> None:
    clip = speech_like(8_000)
    np.testing.assert_array_equal(audio.decode(wav(clip), LIMITS).samples, clip)


def test_channels_are_averaged() -> None:
    left, right = speech_like(8_000, 1), speech_like(8_000, 2)
    mixed = audio.decode(wav(np.stack([left, right], axis=1)), LIMITS).samples
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "DOUBLE", "ULAW"])
def test_sample_formats(subtype: str) -> None:
    clip = speech_like(8_000)
    decoded = audio.decode(wav(clip, subtype=subtype), LIMITS).samples
    assert np.abs(decoded - clip).max() < 0.03


def test_silence_is_fine() -> None:
    samples = audio.decode(wav(np.zeros(16_000, np.float32)), LIMITS).samples
    waveform, _ = audio.lay_out(samples)
    assert not waveform.any()


@pytest.mark.parametrize("seconds", [0.025, 30, 30.05])
def test_lengths_at_the_limits_are_accepted(seconds: float) -> None:
    clip = np.zeros(round(seconds * 16_000), np.float32)
    assert len(audio.decode(wav(clip), LIMITS).samples) == len(clip)


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
        b"Dear Sir or Madam,\n" * 50: ("not_audio", "not an audio file.*starts with b'Dear Sir'"),
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
        with pytest.raises(audio.AudioError, match=sentence) as caught:
            audio.decode(data, LIMITS)
        assert caught.value.reason == reason
        assert "\n" not in str(caught.value)


def test_an_mp3_without_length_is_not_taken_for_truncated(tmp_path: Path) -> None:
    """Variable bit rate without an index: libsndfile guesses seven times the length."""
    data = encoded("mp3", tmp_path)
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    assert tag > 0
    first = data.rfind(b"\xff", 0, tag)
    size = data.find(b"\xff\xf3", tag) if data[first + 1] == 0xF3 else data.find(b"\xff\xfb", tag)
    samples = audio.decode(data[size:], LIMITS).samples
    assert len(samples) / 16_000 == pytest.approx(3, abs=0.2)


def test_a_wav_header_that_claims_too_much_gives_what_is_there() -> None:
    """Recorders that stream cannot know the length when they write the header."""
    data = bytearray(wav(speech_like(16_000), subtype="PCM_16"))
    start = data.index(b"data")
    data[4:8] = data[start + 4 : start + 8] = struct.pack("<I", 0xFFFFFFFF)
    assert len(audio.decode(bytes(data), LIMITS).samples) == 16_000


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 52_345])
def test_the_layout_normalises_like_funasr(samples: int) -> None:
    clip = speech_like(samples) * 0.1 + 0.3
    waveform, frames = audio.lay_out(clip)
    assert len(waveform) == (10 + -(-samples // 320)) * 320
    assert not waveform[:3200].any()
    assert not waveform[3200 + samples :].any()
    expected = torch.nn.functional.layer_norm(torch.from_numpy(clip), (samples,)).numpy()
    np.testing.assert_allclose(waveform[3200 : 3200 + samples], expected, atol=2e-5)
    # As many as torch's convolutions make of it: kernel 10 stride 5, 3/2 four times, 2/2 twice.
    count = samples
    for width, stride in [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]:
        count = (count - width) // stride + 1
    np.testing.assert_array_equal(frames, np.arange(count))
