"""The command ``emotion2vec listen``."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from benchmarks.launch import PATIENCE, SAMPLES
from emotion2vec_client import Client, Emotion2VecError
from emotion2vec_client.cli.sources import read_stream
from tests.fuzz.limits import LIMITS
from tests.integration.gateways import Gateway
from tests.integration.terminal import on_a_terminal

COMMAND = [sys.executable, "-m", "emotion2vec_client", "listen"]


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "story.wav"
    soundfile.write(path, decode((SAMPLES / "story.ogg").read_bytes(), LIMITS).samples, SAMPLE_RATE)
    return path


def listen(gateway: Gateway, data: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "-", "--gateway", gateway.url, *options]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("kind", ["wav", "raw"])
def test_a_pipe_gives_a_line_of_json_for_each_measurement(
    kind: str, wav: Path, client: Client, gateway: Gateway
) -> None:
    data, options = wav.read_bytes(), ["--interval", "0"]
    if kind == "raw":
        data, options = data[44:], [*options, "--rate", str(SAMPLE_RATE)]
    done = listen(gateway, data, *options)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    segments = client.timeline(wav).segments
    assert [(row["start"], row["end"], row["emotion"]) for row in rows] == [
        (segment.start, segment.end, segment.emotion) for segment in segments
    ]
    assert {row["kind"] for row in rows} == {"final"}


def test_a_terminal_keeps_each_segment(wav: Path, client: Client, gateway: Gateway) -> None:
    shown = on_a_terminal(
        "-", "--interval", "0", "--gateway", gateway.url, command="listen", stdin=str(wav)
    )
    lines = [line.rpartition("\033[K")[2] for line in shown.strip("\n").split("\n")]
    segments = client.timeline(wav).segments
    assert len(lines) == len(segments) + 1
    for segment, line in zip(segments, lines, strict=False):
        assert segment.emotion in line
    assert lines[-1] == f"0:12 heard, {len(segments)} segments"


def streaming_header(rate: int, tag: int, bits: int, channels: int = 1) -> bytes:
    """The header that FFmpeg writes to a pipe: sizes unknown, and a title before the samples."""
    form = struct.pack("<HHIIHH", tag, channels, rate, 0, 0, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + form
    chunks += b"LIST" + struct.pack("<I", 5) + b"INFO!\0"
    return b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff"


def test_a_wav_stream_says_what_it_is() -> None:
    source = read_stream(io.BytesIO(streaming_header(8000, 7, 8) + b"abc"), 16000, 1, "s16le")
    assert (source.rate, source.channels, source.encoding) == (8000, 1, "mulaw")
    assert b"".join(source.frames) == b"abc"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (streaming_header(8000, 3, 32), "32 bits .format 3.: send 16-bit PCM"),
        (streaming_header(8000, 1, 16, channels=6), "6 channels"),
        (b"OggS" + bytes(60), "a compressed file: decode it first"),
        (b"RIFF\0\0\0\0WAVEfmt ", "ends within its header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "without a format"),
    ],
)
def test_other_wav_streams_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(Emotion2VecError, match=sentence):
        read_stream(io.BytesIO(data), 16000, 1, "s16le")


def test_what_cannot_be_listened_to_is_refused() -> None:
    command = [*COMMAND, "call.mp3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'emotion2vec timeline' takes files" in done.stderr
    command = [*COMMAND, "-", "--gateway", "http://127.0.0.1:1"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no gateway answers" in done.stderr
