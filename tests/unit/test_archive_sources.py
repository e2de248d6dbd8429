"""Where an archive's recordings are found, and under which names."""

from __future__ import annotations

import csv
import errno
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow
import pytest
import typer
from pyarrow import parquet

from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.sources import SHARD_READERS, find
from emotion2vec_client.archive.stores import Store, StoreError
from emotion2vec_client.cli import main
from tests.unit.cli_fakes import fake, touch

__all__ = ["fake"]

MEMBERS = {"a/1.wav": b"first", "a/1.json": b"{}", "2.flac": b"second one"}


@pytest.fixture(autouse=True)
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """A filesystem in memory, empty, which stands for any store."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()


def shard(members: dict[str, bytes] = MEMBERS) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def names(*sources: str, column: str = "path") -> list[str]:
    return [recording.name for recording in find(sources, column)]


def contents(*sources: str) -> list[bytes]:
    return [recording.read() for recording in find(sources, "path")]


def test_folders_patterns_and_files_have_the_names_that_predict_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    touch("clips/b.wav", "clips/deep/a.mp3", "clips/notes.txt", "clips/.hidden.wav", "one")
    assert names("clips", "clips/*.wav", "one") == [
        "clips/b.wav",
        "clips/deep/a.mp3",
        "clips/b.wav",
        "one",
    ]
    assert "notes.txt" in capsys.readouterr().err


def test_a_shard_has_its_audio_members() -> None:
    Path("shards").mkdir()
    Path("shards/0.tar").write_bytes(shard())
    expected = ["shards/0.tar/a/1.wav", "shards/0.tar/2.flac"]
    assert names("shards/0.tar") == names("shards") == names("shards/*.tar") == expected
    assert contents("shards") == [b"first", b"second one"]


def test_a_damaged_shard_is_a_row_after_what_can_be_read() -> None:
    whole = shard({"1.wav": b"x" * 600, "2.wav": b"y" * 600})
    Path("cut.tar").write_bytes(whole[:1700])
    Path("none.tar").write_bytes(b"no shard" * 200)
    found = list(find(["cut.tar", "none.tar"], "path"))
    assert [each.name for each in found][:1] == ["cut.tar/1.wav"]
    assert found[0].read() == b"x" * 600
    for name in ("cut.tar", "none.tar"):
        [last] = [each for each in found if each.name == name]
        with pytest.raises(ValueError, match="the shard is damaged"):
            last.read()


@pytest.mark.parametrize("list_name", ["lists/calls.csv", "lists/calls.parquet"])
def test_a_list_names_paths_beside_it_urls_and_shards(
    list_name: str, memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    touch("lists/near.wav")
    Path("lists/shard.tar").write_bytes(shard())
    memory.pipe_file("/far.wav", b"far")
    absolute = str(tmp_path / "lists" / "near.wav")
    listed = ["near.wav", absolute, "memory://far.wav", "missing.wav", "shard.tar", "gone.tar"]
    if list_name.endswith(".csv"):
        with open(list_name, "w", newline="") as stream:
            csv.writer(stream).writerows([["id", "audio"], *([1, each] for each in listed)])
    else:
        parquet.write_table(pyarrow.table({"audio": listed}), list_name)
    found = list(find([list_name], "audio"))
    assert [each.name for each in found] == [
        "near.wav",
        absolute,
        "memory://far.wav",
        "missing.wav",
        "shard.tar/a/1.wav",
        "shard.tar/2.flac",
        "gone.tar",
    ]
    assert [each.read() for each in found[:3]] == [b"", b"", b"far"]
    with pytest.raises(FileNotFoundError):
        found[3].read()
    with pytest.raises(ValueError, match="No such file"):
        found[-1].read()
    with pytest.raises(typer.BadParameter, match="has no column path: name one of"):
        names(list_name)


def test_names_of_several_lists_have_their_folders() -> None:
    for folder in ("1", "2"):
        touch(f"{folder}/a.wav")
        Path(folder, "list.csv").write_text("path\na.wav\n")
    assert names("1/list.csv") == ["a.wav"]
    assert names("1/list.csv", "2/list.csv") == names("*/list.csv") == ["1/a.wav", "2/a.wav"]


def test_shards_are_listed_in_their_order() -> None:
    count = 3 * SHARD_READERS
    for number in range(count):
        Path(f"{number:02}.tar").write_bytes(shard({f"{number}.wav": b"x"} if number else {}))
        touch(f"{number:02}.wav")
    expected = [
        name
        for number in range(count)
        for name in ([f"{number:02}.tar/{number}.wav"] if number else []) + [f"{number:02}.wav"]
    ]
    assert names("*") == expected


def test_a_store_has_the_same_sources(
    memory: fsspec.AbstractFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, data in {
        "/calls/b.wav": b"b",
        "/calls/deep/a.mp3": b"a",
        "/calls/notes.txt": b"",
        "/calls/0.tar": shard(),
        "/calls.csv": b"path\ncalls/b.wav\n",
    }.items():
        memory.pipe_file(path, data)
    assert names("memory://calls") == [
        "memory:///calls/0.tar/a/1.wav",
        "memory:///calls/0.tar/2.flac",
        "memory:///calls/b.wav",
        "memory:///calls/deep/a.mp3",
    ]
    assert (
        "skipped 1 file whose name does not end in an audio extension: memory:///calls/notes"
        in (capsys.readouterr().err)
    )
    assert contents("memory://calls") == [b"first", b"second one", b"b", b"a"]
    assert names("memory://calls/*.wav") == ["memory:///calls/b.wav"]
    assert contents("memory://calls.csv") == [b"b"]


@pytest.mark.parametrize(
    "source", ["missing", "missing/*.wav", "memory://missing", "empty", "memory://m/*.wav"]
)
def test_a_source_without_recordings_is_wrong_usage(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert main(["archive", source, "-o", "out"]) == 2
    assert source in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_file_that_is_no_list_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    touch("calls.parquet")
    assert main(["archive", "calls.parquet", "-o", "out"]) == 2
    assert "calls.parquet cannot be read as a list" in capsys.readouterr().err


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


@pytest.mark.parametrize(("number", "is_a_row"), [(errno.ENOENT, True), (errno.ESTALE, False)])
def test_a_mount_that_fails_ends_the_command(
    number: int, is_a_row: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*path: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(FileNotFoundError if is_a_row else StoreError):
        Recording("a", "/mnt/a.wav").read()


def test_an_object_may_have_any_name(tmp_path: Path) -> None:
    for name in ("c::d.wav", "[x].wav", "a?b.wav"):
        (tmp_path / name).write_text(name)
        assert contents(f"file://{tmp_path}/{name}") == [name.encode()]
    assert len(contents(f"file://{tmp_path}")) == 3


def test_objects_below_a_folder_without_a_name_are_told(
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory.pipe_file("/calls/a.wav", b"a")
    listed = type(memory).ls

    def as_in_s3(self: fsspec.AbstractFileSystem, path: str, **options: object) -> object:
        # As s3fs has "calls/" as an object, and calls//b.wav.
        marker = {"name": "/calls/", "size": 0, "type": "file"}
        nameless = {"name": "/calls/", "size": 0, "type": "directory"}
        return [marker, nameless, *listed(self, path, **options)]

    monkeypatch.setattr(type(memory), "ls", as_in_s3)
    assert names("memory://calls") == ["memory:///calls/a.wav"]
    said = capsys.readouterr().err
    assert said == "skipped all below memory:///calls//: name these objects in a list\n"


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


def test_members_that_have_no_bytes_of_their_own() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty.wav"))
        tar.addfile(tarfile.TarInfo("._mac.wav"))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.LNKTYPE, "empty.wav"
        tar.addfile(link)
    Path("0.tar").write_bytes(packed.getvalue())
    empty, linked = find(["0.tar"], "path")
    assert empty.read() == b""
    with pytest.raises(ValueError, match="it is a link: pack the shard with"):
        linked.read()


def test_a_compressed_shard_and_a_source_that_is_missing_are_refused_before_any_listing() -> None:
    touch("a.wav", "b.tar.gz")
    for source, said in (("gone", "there is no file or folder gone"), ("b.tar.gz", "unpack it")):
        with pytest.raises(typer.BadParameter, match=said):
            next(iter(find(["a.wav", source], "path")))


def test_a_list_of_numbers_is_no_list() -> None:
    parquet.write_table(pyarrow.table({"path": [1, 2]}), "numbers.parquet")
    with pytest.raises(typer.BadParameter, match="column path has int64"):
        names("numbers.parquet")


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


def test_names_may_be_any_bytes() -> None:
    name = b"clips/\xff.wav".decode("utf-8", "surrogateescape")
    touch(name)
    Path(name).write_bytes(b"sound")
    from emotion2vec_client.archive.plan import read_inputs, write_plan

    store = Store.of("out")
    plan = write_plan(store, find(["clips"], "path"), {}, {}, 10, lambda listed: None)
    [recording] = read_inputs(store, plan, 0)
    assert recording.name == "clips/\\udcff.wav"
    assert recording.read() == b"sound"
