"""Files that cost a decoder much time or memory.

`make proofs ARGS="-k attack"` writes the table that docs/reliability.md quotes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import soundfile

from tests.conftest import SAMPLES, speech_like
from tests.fuzz.ogg import file_of, pages_of

SIZE = 9 * 2**20


def recorded(name: str) -> bytes:
    """One of the project's recordings."""
    return (SAMPLES / name).read_bytes()


def written(container: str, subtype: str, samples: np.ndarray, rate: int = 16_000) -> bytes:
    """A file that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


EMPTY_OPUS = bytes([0xFB, 0x06])
"""A packet of six empty frames of 20 ms, as a silent line sends them."""

OPUS_HEAD = struct.pack("<8sBBHIHB", b"OpusHead", 1, 1, 312, 48_000, 0, 0)


def opus_of_hours() -> bytes:
    """Packets of two bytes that each decode to 120 ms of silence: more than 100 hours."""
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    bodies = [(bytes([len(OPUS_HEAD)]), OPUS_HEAD, 0, 2), (bytes([len(tags)]), tags, 0, 0)]
    page = (bytes([2]) * 255, EMPTY_OPUS * 255)
    count = SIZE // (27 + 255 + 2 * 255)
    bodies += [(*page, 255 * 5_760 * (i + 1), 0) for i in range(count)]
    return file_of(pages_of(1, bodies))


def ogg_of_many_tags() -> bytes:
    """A comment packet of 780,000 tags, over many pages."""
    entries = b"".join(struct.pack("<I", 8) + b"%06x=1" % i for i in range(SIZE // 12))
    tags = b"OpusTags" + struct.pack("<II", 0, SIZE // 12) + entries
    bodies = [(bytes([len(OPUS_HEAD)]), OPUS_HEAD, 0, 2)]
    whole = 255 * 16
    for start in range(0, len(tags), whole):
        part = tags[start : start + whole]
        segments = bytes([255]) * (len(part) // 255)
        if len(part) < whole:
            segments += bytes([len(part) % 255])
        bodies.append((segments, part, -1 if len(part) == whole else 0, 1 if start else 0))
    bodies.append((bytes([2]), EMPTY_OPUS, 5_760, 4))
    return file_of(pages_of(1, bodies))


def ogg_of_many_links() -> bytes:
    """Thousands of streams, one after the other."""
    link = written("OGG", "VORBIS", np.zeros(64, np.float32))
    return link * (SIZE // len(link))


def ogg_of_many_streams() -> bytes:
    """Thousands of streams at once."""
    head = (bytes([len(OPUS_HEAD)]), OPUS_HEAD, 0, 2)
    return file_of([page for serial in range(20_000) for page in pages_of(serial, [head])])


def flac(change: Callable[[bytearray], None], tags: int = 0) -> bytes:
    """A FLAC file with a changed STREAMINFO and this many tags."""
    data = written("FLAC", "PCM_16", speech_like(16_000))
    info = bytearray(data[8:42])
    change(info)
    start, last = 42, False
    while not last:
        last = bool(data[start] & 0x80)
        start += 4 + int.from_bytes(data[start + 1 : start + 4], "big")
    entries = b"".join(struct.pack("<I", 8) + b"%06x=1" % i for i in range(tags))
    block = struct.pack("<II", 0, tags) + entries
    head = b"fLaC\x00\x00\x00\x22" + bytes(info) + b"\x84" + len(block).to_bytes(3, "big")
    return head + block + data[start:]


def claims_much(info: bytearray) -> None:
    info[10:18] = ((655_350 << 44) | (7 << 41) | (31 << 36) | (2**36 - 1)).to_bytes(8, "big")


def wav_of_many_chunks() -> bytes:
    data = written("WAV", "PCM_16", speech_like(16_000))
    chunks = (b"junk" + bytes(4)) * (SIZE // 8)
    return data[:12] + data[12:36] + chunks + data[36:]


def wav_of_channels(count: int) -> bytes:
    head = struct.pack(
        "<IHHIIHH", 16, 1, count, 16_000, 32_000 * count & 0xFFFFFFFF, 2 * count & 0xFFFF, 16
    )
    body = bytes(2 * count * 50)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + head + b"data" + struct.pack("<I", len(body)) + body


def id3(body: bytes) -> bytes:
    size = len(body)
    digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + digits + body + recorded("sad.mp3")


def id3_of_many_frames() -> bytes:
    frame = b"TXXX" + struct.pack(">IH", 9, 0) + b"\x00%06x\x00a"
    return id3(b"".join(frame % i for i in range(SIZE // 19)))


def box(name: bytes, *content: bytes) -> bytes:
    """An MP4 box."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def mp4(
    tables: bytes = b"",
    extra: bytes = b"",
    tail: bytes = b"",
    tracks: int = 1,
    codec: bytes = b"mp4a",
    where: bytes = b"",
) -> bytes:
    """An MP4 with these sample tables."""
    entry = struct.pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, 16_000 << 16)
    description = box(b"stsd", struct.pack(">II", 0, 1), box(codec, entry))
    track = box(
        b"trak",
        box(b"tkhd", struct.pack(">IIIIII60x", 7, 0, 0, 1, 0, 2**32 - 1)),
        box(
            b"mdia",
            box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 16_000, 2**32 - 1, 0, 0)),
            box(b"hdlr", struct.pack(">II4s12x", 0, 0, b"soun")),
            box(b"minf", where, box(b"stbl", description, tables)),
        ),
    )
    movie = box(b"mvhd", struct.pack(">IIIII80x", 0, 0, 0, 1_000, 2**32 - 1))
    return (
        box(b"ftyp", b"isom\0\0\0\0isom")
        + box(b"moov", movie, track * tracks, extra)
        + tail
        + box(b"mdat", bytes(64_000))
    )


def table(name: bytes, *fields: int) -> bytes:
    return box(name, struct.pack(f">{len(fields) + 1}I", 0, *fields))


BILLION = 2**30


def mp4_of_equal_samples(count: int, tracks: int = 1) -> bytes:
    return mp4(
        table(b"stts", 1, count, 1_024)
        + table(b"stsz", 1, count)
        + table(b"stsc", 1, 1, count, 1)
        + table(b"stco", 1, 2_000),
        tracks=tracks,
    )


def mp4_fragments(runs: int) -> bytes:
    """Fragments whose samples all have the default size, so that they take no bytes in the file."""
    defaults = box(b"mvex", box(b"trex", struct.pack(">IIIIII", 0, 1, 1, 1, 1, 0)))
    run = box(b"trun", struct.pack(">II", 0, BILLION))
    head = box(b"tfhd", struct.pack(">II", 0x020000, 1))
    tables = table(b"stts", 0) + table(b"stsz", 0, 0) + table(b"stsc", 0) + table(b"stco", 0)
    return mp4(tables, extra=defaults, tail=box(b"moof", box(b"traf", head, run * runs)))


def mp4_of_edits() -> bytes:
    """Half a million edits, each of which repeats the whole clip."""
    data = recorded("fearful.m4a")
    # The box is at the end, so that it can grow without moving others.
    start = data.index(b"moov") - 4
    head, moov = data[:start], data[start + 8 :]
    at = moov.index(b"trak") + 4
    size = int.from_bytes(moov[at - 8 : at - 4], "big")
    edits = b"".join(struct.pack(">IIHH", 1_000, i, 1, 0) for i in range(500_000))
    elst = box(b"edts", box(b"elst", struct.pack(">II", 0, 500_000), edits))
    body = moov[at : at - 8 + size].replace(b"edts", b"free")
    tkhd = int.from_bytes(body[:4], "big")
    track = box(b"trak", body[:tkhd], elst, body[tkhd:])
    return head + box(b"moov", moov[: at - 8], track, moov[at - 8 + size :])


def mp4_of_many_keys() -> bytes:
    count = 200_000
    keys = b"".join(box(b"mdta", b"%06x" % i) for i in range(count))
    values = b"".join(
        struct.pack(">II", 25, i + 1) + box(b"data", struct.pack(">II", 1, 0), b"a")
        for i in range(count)
    )
    meta = box(
        b"meta",
        struct.pack(">I", 0),
        box(b"hdlr", struct.pack(">II4s13x", 0, 0, b"mdta")),
        box(b"keys", struct.pack(">II", 0, count), keys),
        box(b"ilst", values),
    )
    return mp4(extra=meta)


def element(name: str, body: bytes) -> bytes:
    """A Matroska element."""
    return bytes.fromhex(name) + (len(body) | 1 << 56).to_bytes(8, "big") + body


def webm(clusters: bytes, tracks: int = 1) -> bytes:
    entry = (
        element("83", b"\x02")
        + element("86", b"A_OPUS")
        + element("63a2", OPUS_HEAD)
        + element("e1", element("b5", struct.pack(">d", 48_000)) + element("9f", b"\x01"))
    )
    list_of = b"".join(
        element(
            "ae",
            element("d7", i.to_bytes(3, "big")) + element("73c5", i.to_bytes(3, "big")) + entry,
        )
        for i in range(1, tracks + 1)
    )
    head = element("1a45dfa3", element("4282", b"webm"))
    return head + element("18538067", element("1654ae6b", list_of) + clusters)


def webm_of_tiny_packets(track: int) -> bytes:
    block = element("a3", bytes([0x80 | track, 0, 0, 0x80, 0xF8]))
    return webm(element("1f43b675", element("e7", b"\x00") + block * (SIZE // len(block))), 2)


def webm_of_tags() -> bytes:
    tags = b"".join(
        element("67c8", element("45a3", b"%06x" % i) + element("4487", b"a"))
        for i in range(250_000)
    )
    return webm(element("1254c367", element("7373", tags)))


def ape_of_many_items() -> bytes:
    items = b"".join(struct.pack("<II", 1, 0) + b"%05x\0a" % i for i in range(65_000))
    size = len(items) + 32
    foot = struct.pack("<8sIIII8x", b"APETAGEX", 2_000, size, 65_000, 0)
    return recorded("sad.mp3") + items + foot


def aac_of_tiny_frames() -> bytes:
    return bytes([0xFF, 0xF1, 0x4C, 0x80, 0x00, 0xFF, 0xFC]) * (SIZE // 7)


ENDLESS = {"damaged", "too_long", "ok"}
"""Outcomes of files that hit the CPU time limit; a fast machine may finish some of them."""

ATTACKS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "9 MB of Opus, 100 hours": (opus_of_hours, {"too_long"}),
    "Opus with 780,000 tags": (ogg_of_many_tags, ENDLESS),
    "Ogg of 2,000 streams in a chain": (ogg_of_many_links, {"damaged", "too_long"}),
    "Ogg of 20,000 streams at once": (ogg_of_many_streams, {"damaged"}),
    "FLAC, 655 kHz, 8 channels, 2^36 samples": (
        lambda: flac(claims_much),
        {"damaged", "too_long", "unsupported"},
    ),
    "FLAC with 780,000 tags": (lambda: flac(lambda info: None, SIZE // 12), ENDLESS),
    "WAV with a million chunks": (wav_of_many_chunks, {"ok", "damaged"}),
    "WAV with 9 channels": (lambda: wav_of_channels(9), {"unsupported"}),
    "WAV with 65,535 channels": (lambda: wav_of_channels(65_535), {"unsupported", "damaged"}),
    "MP3 behind 9 MB of ID3": (lambda: id3(bytes(SIZE)), {"ok"}),
    "MP3 behind 490,000 ID3 frames": (id3_of_many_frames, ENDLESS),
    "MP3 before an APE tag of 65,000 items": (ape_of_many_items, {"ok", "damaged"}),
    "AAC of 1.3 million empty frames": (aac_of_tiny_frames, {"damaged"}),
    "AMR of 9 million empty frames": (lambda: b"#!AMR\n" + b"\x7c" * SIZE, {"too_long", "damaged"}),
    "MP4, table of 2^30 equal samples": (lambda: mp4_of_equal_samples(BILLION), {"damaged"}),
    "MP4, 16 tables of 4 million samples": (lambda: mp4_of_equal_samples(2**22, 16), {"damaged"}),
    "MP4, time table of 2^30 entries": (lambda: mp4(table(b"stts", BILLION, 1, 1)), {"damaged"}),
    "MP4, chunk table of 2^30 entries": (lambda: mp4(table(b"stco", BILLION, 1)), {"damaged"}),
    "MP4, fragment of 2^30 samples": (lambda: mp4_fragments(1), {"damaged"}),
    "MP4, 1,000 fragments of 2^30 samples": (lambda: mp4_fragments(1_000), {"damaged"}),
    "MP4, 500,000 edits": (mp4_of_edits, ENDLESS),
    "MP4 with 200,000 tags": (mp4_of_many_keys, ENDLESS),
    "WebM of 670,000 packets of a byte": (lambda: webm_of_tiny_packets(1), {"damaged", "too_long"}),
    "WebM, all of another track": (lambda: webm_of_tiny_packets(2), {"damaged"}),
    "WebM with 250,000 tags": (webm_of_tags, ENDLESS),
    "WebM of 70,000 tracks": (lambda: webm(b"", 70_000), {"damaged"}),
}
"""What makes each file, and its allowed outcomes: reasons of a refusal, or "ok" if decoded.

On a slow machine any of them may hit the CPU time limit.
"""
