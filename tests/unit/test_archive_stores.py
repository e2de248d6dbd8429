"""What an archive reads from stores and writes to them, and what their errors mean."""

from __future__ import annotations

import errno
import io
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import pyarrow
import pytest
from fsspec.implementations.memory import MemoryFile
from pyarrow import parquet

from benchmarks.launch import free_ports
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.stores import Store, StoreError
from emotion2vec_client.cli import main
from tests.unit.archive_runs import memory
from tests.unit.cli_fakes import fake, touch

__all__ = ["fake", "memory"]


def test_an_error_of_a_file_is_a_row_and_one_of_its_store_is_not(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        Recording("a", "memory://a.wav").read()
    with pytest.raises(FileNotFoundError, match="Unknown protocol"):
        Recording("a", "nothing://a.wav").read()
    memory.pipe_file("/a.wav", b"a")
    for error in (ConnectionResetError(), RuntimeError("botocore"), ImportError("no s3fs")):

        def fail(*path: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(type(memory), "cat_file", fail)
        with pytest.raises(StoreError, match=r"memory://a\.wav"):
            Recording("a", "memory://a.wav").read()


class ClientError(Exception):
    """An answer of S3, as botocore has it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "kind", "is_a_row"),
    [
        ("NoSuchKey", FileNotFoundError, True),
        ("AccessDenied", PermissionError, True),
        ("ExpiredToken", PermissionError, False),
        ("InvalidAccessKeyId", PermissionError, False),
        ("NoSuchBucket", FileNotFoundError, False),
    ],
)
def test_credentials_that_expire_end_the_command_and_are_no_rows(
    code: str,
    kind: type[OSError],
    is_a_row: bool,
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*path: object, **options: object) -> None:
        # As s3fs translates it.
        raise kind("the message of S3") from ClientError(code)

    monkeypatch.setattr(type(memory), "cat_file", fail)
    with pytest.raises(kind if is_a_row else StoreError):
        Recording("a", "memory://a.wav").read()


@pytest.mark.parametrize(
    ("status", "is_a_row"),
    [(200, True), (403, True), (404, True), (410, True), (401, False), (429, False), (503, False)],
)
def test_a_web_server(status: int, is_a_row: bool) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever).start()
        try:
            recording = Recording("a", f"http://127.0.0.1:{server.server_port}/a.wav")
            if status == 200:
                assert recording.read() == b""
                return
            with pytest.raises(OSError if is_a_row else StoreError, match=r"a\.wav"):
                recording.read()
        finally:
            server.shutdown()


def test_a_web_server_that_is_down() -> None:
    [port] = free_ports(1)
    with pytest.raises(StoreError):
        Recording("a", f"http://127.0.0.1:{port}/a.wav").read()


def test_a_forbidden_object_of_google(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*path: object, **options: object) -> None:
        # As gcsfs.retry.validate_response raises it.
        raise OSError("Forbidden: calls/a.wav\nno access")

    monkeypatch.setattr(type(memory), "cat_file", fail)
    with pytest.raises(PermissionError):
        Recording("a", "memory://a.wav").read()


def test_a_list_whose_store_breaks_meanwhile(
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory.pipe_file("/calls.csv", b"path\n" + b"a.wav\n" * 100_000)
    reads = MemoryFile.read1

    def breaks(self: MemoryFile, *size: int) -> bytes:
        if self.tell():
            raise RuntimeError("the connection is lost")
        return reads(self, *size)

    monkeypatch.setattr(MemoryFile, "read1", breaks)
    assert main(["archive", "memory://calls.csv", "-o", "out"]) == 1
    assert "calls.csv failed: the connection is lost" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "is_a_row"), [(errno.ENOENT, True), (errno.ESTALE, False)])
def test_a_mount_that_fails_ends_the_command(
    number: int, is_a_row: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*path: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(FileNotFoundError if is_a_row else StoreError):
        Recording("a", "/mnt/a.wav").read()


def test_an_empty_object_is_read_where_stores_refuse_a_range_of_it(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/empty.wav", b"")
    memory.pipe_file("/a.wav", b"a")

    def refuse(*path: object, **options: object) -> None:
        # As s3fs translates InvalidRange.
        raise OSError(errno.EINVAL, "The requested range is not satisfiable")

    monkeypatch.setattr(type(memory), "cat_file", refuse)
    assert Recording("empty", "memory://empty.wav").read() == b""
    with pytest.raises(StoreError, match="range is not satisfiable"):
        Recording("a", "memory://a.wav").read()


def test_a_store_that_fails_ends_the_command(
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    touch("a.wav")

    def fail(*path: object, **options: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(type(memory), "pipe_file", fail)
    assert main(["archive", "a.wav", "-o", "memory://out"]) == 1
    assert "the store of memory://out" in capsys.readouterr().err


def test_results_in_a_store(memory: fsspec.AbstractFileSystem) -> None:
    touch("clips/a.wav", "clips/bad.wav", "clips/c.wav")
    command = ["archive", "clips", "-o", "memory://out", "--part-size", "2"]
    assert main(command) == 0
    memory.rm_file("/out/part-00000.parquet")
    assert main(command) == 0
    found = [
        parquet.read_table(io.BytesIO(memory.cat_file(f"/out/part-0000{number}.parquet")))
        for number in range(2)
    ]
    assert pyarrow.concat_tables(found).column("file").to_pylist() == [
        "clips/a.wav",
        "clips/bad.wav",
        "clips/c.wav",
    ]


def test_where_files_appear_in_pieces_a_part_is_renamed(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion2vec_client.archive import stores

    monkeypatch.setattr(stores, "OBJECT_STORES", frozenset())
    moved: list[str] = []
    move = type(memory).mv

    def watch(self: fsspec.AbstractFileSystem, source: str, target: str) -> None:
        moved.append(target)
        move(self, source, target)

    monkeypatch.setattr(type(memory), "mv", watch)
    Store.of("memory://out").put("part-00000.parquet", b"rows")
    assert moved == ["/out/part-00000.parquet"]
    assert memory.cat_file("/out/part-00000.parquet") == b"rows"
