"""Files that are made to break the decoder, or to make it read what it must not."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from audio import sandbox
from audio.decoding import decode
from audio.limits import AudioError
from tests.conftest import speech_like
from tests.fuzz import attacks, decoder
from tests.fuzz.limits import LIMITS
from tests.fuzz.measured import Measured
from tests.fuzz.seeds import seeds, with_pyav, with_soundfile

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def target() -> Iterator[Measured]:
    """A sandbox that measures the cost of each file."""
    measured = Measured()
    yield measured
    measured.decoder.close()


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_stays_within_the_limits(name: str, target: Measured) -> None:
    make, expected = attacks.ATTACKS[name]
    data = make()
    outcome, died, _, peak = target.attempt(data)
    assert outcome in expected or died == decoder.CPU_LIMIT
    # The peak is NaN if the kernel ended the process at the limit.
    assert not peak - len(data) / MEGABYTE > LIMITS.max_memory_bytes / MEGABYTE
    target.is_well()


def test_endless_work_is_ended_by_the_kernel(target: Measured) -> None:
    make, _ = attacks.ATTACKS["FLAC with 780,000 tags"]
    with pytest.raises(AudioError, match="cannot be decoded in 1 s and 64 MB") as caught:
        target.decoder.decode(make())
    assert str(caught.value.__cause__) == "SIGPROF"


def test_more_memory_than_the_limit_is_not_given() -> None:
    """A good file that needs more than one megabyte is refused if the limit is one megabyte."""
    long = with_soundfile("WAV", "PCM_16", speech_like(29 * 44_100), 44_100)
    assert len(decode(long, LIMITS).samples) == 29 * 16_000
    tight = dataclasses.replace(LIMITS, max_bytes=len(long), max_memory_bytes=MEGABYTE)
    confined = sandbox.Decoder(tight)
    with pytest.raises(AudioError, match="cannot be decoded in 1 s and 1 MB"):
        confined.decode(long)
    confined.close()


def test_a_process_that_was_killed_is_replaced(target: Measured) -> None:
    pid = int(target.decoder.process.name)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    target.is_well()


def test_the_process_is_renewed_before_leaks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "FILES_PER_PROCESS", 3)
    target = Measured()
    first = target.decoder.process
    for _ in range(4):
        target.is_well()
    assert target.decoder.process != first
    assert not first.exists()
    target.decoder.close()


def test_the_process_ends_with_its_owner() -> None:
    decoder = sandbox.Decoder(LIMITS)
    process = decoder.process
    decoder._socket.close()
    assert decoder._process.wait(timeout=20) == 0
    assert not (process / "cmdline").exists()


def test_the_sandbox_gives_what_the_decoder_gives(target: Measured) -> None:
    for name, data in seeds().items():
        inside, outside = target.decoder.decode(data), decode(data, LIMITS)
        np.testing.assert_array_equal(inside.samples, outside.samples, err_msg=name)
        assert inside.source_rate == outside.source_rate


def test_nothing_can_be_opened_inside(target: Measured) -> None:
    limits = (target.decoder.process / "limits").read_text()
    [files] = [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open")]
    assert files == ["0", "0"]


def reference_movie(path: Path) -> bytes:
    """A QuickTime file whose samples are in another file."""
    text = str(path).encode()
    alias = bytes(150) + struct.pack(">hH", 2, len(text)) + text + b"\0" * (len(text) % 2)
    alias += struct.pack(">hH", -1, 0)
    reference = attacks.box(b"alis", bytes(4) + alias)
    tables = {b"stts": (1, 8000, 1), b"stsz": (2, 8000), b"stsc": (1, 1, 8000, 1), b"stco": (1, 44)}
    return attacks.mp4(
        b"".join(attacks.table(name, *fields) for name, fields in tables.items()),
        codec=b"sowt",
        where=attacks.box(b"dinf", attacks.box(b"dref", struct.pack(">II", 0, 1), reference)),
    )


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's recording, in a folder where a playlist can name it."""
    path = tmp_path / "secret.wav"
    path.write_bytes(with_soundfile("WAV", "PCM_16", speech_like(16_000)))
    monkeypatch.chdir(tmp_path)
    return path


def playlists(target: str) -> dict[str, bytes]:
    return {
        "concat": f"ffconcat version 1.0\nfile {target}\n".encode(),
        "hls": (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n"
        ).encode(),
        "dash": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
            '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
            f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
        ).encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=audio 5004 RTP/AVP 0\n",
        "movie": reference_movie(Path(target)),
    }


@pytest.mark.parametrize("kind", playlists("x"))
def test_a_file_that_names_another_file_does_not_get_it(kind: str, secret: Path) -> None:
    for name in (secret.name, str(secret), f"file://{secret}"):
        with pytest.raises(AudioError):
            decode(playlists(name)[kind], LIMITS)


def test_a_playlist_would_get_the_other_file_without_the_allow_list(secret: Path) -> None:
    """Proves that the test above tests something: by default, FFmpeg opens the other file."""
    with av.open(io.BytesIO(playlists(secret.name)["concat"])) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 16_000


@pytest.mark.parametrize("kind", playlists("x"))
def test_a_file_that_names_an_address_does_not_reach_it(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/segment.ts"
        with pytest.raises(AudioError):
            decode(playlists(address)[kind], LIMITS)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("avi", "pcm_s16le", 16_000), ("flv", "aac", 44_100), ("nut", "flac", 16_000)],
)
def test_containers_that_are_not_listed_are_refused(container: str, codec: str, rate: int) -> None:
    data = with_pyav(container, codec, rate, {}, speech_like(rate))
    with pytest.raises(AudioError, match="send WAV, MP3, M4A, FLAC or OGG") as caught:
        decode(data, LIMITS)
    assert caught.value.reason == "not_audio"


@pytest.mark.parametrize(
    ("container", "codec", "rate"), [("mp4", "ac3", 48_000), ("matroska", "eac3", 48_000)]
)
def test_codecs_that_are_not_listed_are_refused(container: str, codec: str, rate: int) -> None:
    data = with_pyav(container, codec, rate, {}, speech_like(rate))
    with pytest.raises(AudioError, match=f"encoded as {codec}") as caught:
        decode(data, LIMITS)
    assert caught.value.reason == "unsupported"


def test_a_forged_duration_changes_nothing() -> None:
    data = attacks.recorded("fearful.m4a")
    truth = decode(data, LIMITS).samples
    forged = bytearray(data)
    # In a box of version 0, the duration is 16 bytes after the name; in tkhd, 20.
    for name, offset in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        start = data.index(name) + offset
        forged[start : start + 4] = b"\x7f\xff\xff\xff"
    np.testing.assert_array_equal(decode(bytes(forged), LIMITS).samples, truth)


def test_mutations_of_good_files_do_no_harm(target: Measured) -> None:
    outcome = decoder.fuzz(target, range(400), seed=0)
    assert outcome.findings == []
    # The mutations must reach parsers and codecs: some files are decoded, others refused.
    assert {"ok", "damaged", "not_audio"} <= set(outcome.statuses)
