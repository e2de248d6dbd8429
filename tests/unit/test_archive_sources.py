"""Where an archive's recordings are found, and under which names."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import fsspec
import pyarrow
import pytest
import typer
from pyarrow import parquet

from emotion2vec_client.archive.sources import SHARD_READERS, find
from emotion2vec_client.archive.stores import Store
from emotion2vec_client.cli import main
from tests.unit.archive_runs import memory
from tests.unit.cli_fakes import fake, touch

__all__ = ["fake", "memory"]

MEMBERS = {"a/1.wav": b"first", "a/1.json": b"{}", "2.flac": b"second one"}


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
    assert said == "skipped everything under memory:///calls//: give a list of it\n"


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
