"""An archive is whole: one plan for all commands, no rows of others, damage is named."""

from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from emotion2vec_client.archive.plan import Plan, read_plan
from emotion2vec_client.archive.results import PLAN_KEY
from emotion2vec_client.archive.stores import Store
from emotion2vec_client.cli import archive, main
from tests.unit.archive_runs import COMMAND, NAMES, PART, PARTS, files
from tests.unit.cli_fakes import FakeClient, fake, touch

__all__ = ["fake"]


@pytest.mark.parametrize("out", ["out", "memory://two-drivers"])
def test_two_commands_that_begin_at_once_work_by_one_plan(
    out: str, fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one sees no plan; then the first one plans and dies after a part."""
    touch(*NAMES)
    fsspec.filesystem("memory").store.clear()
    command = [*COMMAND[:3], out, *COMMAND[4:]]
    begun = False

    def stop(recording: object) -> None:
        if str(recording) == NAMES[2 * PART]:
            raise KeyboardInterrupt

    def first_begins(store: Store) -> Plan | None:
        nonlocal begun
        found = read_plan(store)
        if not begun:
            begun = True
            fake.asked = staticmethod(stop)
            assert main(command) == 130
            fake.asked = staticmethod(lambda recording: None)
            # It comes before all others, so that a second list has other parts.
            touch("clips/+.wav")
        return found

    monkeypatch.setattr(archive, "read_plan", first_begins)
    assert main(command) == 0
    store = Store.of(out)
    parts = sorted(name for name in store.names() if name.startswith("part-"))
    assert [
        row["file"]
        for name in parts
        for row in parquet.read_table(io.BytesIO(store.read(name))).to_pylist()
    ] == NAMES
    inputs = [name for name in store.names("_archive") if name.startswith("inputs-")]
    assert len(inputs) == PARTS


def test_a_disk_without_links_has_archives_too(monkeypatch: pytest.MonkeyPatch) -> None:
    touch(*NAMES)

    def no_links(source: object, target: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert Store.of("disk").create("a", b"first")
    assert not Store.of("disk").create("a", b"second")
    assert Path("disk/a").read_bytes() == b"first"
    assert main(COMMAND) == 0
    assert files() == NAMES


def test_only_unfinished_files_that_nobody_writes_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch(*NAMES)
    fsync = os.fsync
    left: dict[str, bytes] = {}

    def look(number: int) -> None:
        left.update({path.name: b"rows" for path in Path("out/_archive").glob("*.unfinished")})
        fsync(number)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", look)
        assert main(COMMAND) == 0
    # As if other commands were writing these, or were killed while they did.
    for name, data in left.items():
        Path("out/_archive", name).write_bytes(data)
    assert main(COMMAND) == 0
    assert {path.name for path in Path("out/_archive").glob("*.unfinished")} == set(left)
    two_hours_later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: two_hours_later)
    assert main(COMMAND) == 0
    assert not list(Path("out/_archive").glob("*.unfinished"))


@pytest.mark.parametrize("content", ["empty", "half", "other"])
@pytest.mark.parametrize(
    ("damaged", "then"),
    [
        ("part-00001.parquet", "delete it, and run the same command again"),
        ("_archive/inputs-*-00001.parquet", "run the same command again to begin anew"),
        ("_archive/plan.json", "run the same command again to begin anew"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(
    damaged: str, then: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    [path] = Path("out").glob(damaged)
    data = path.read_bytes()
    other = b'{"a": 1}'
    if path.suffix == ".parquet":
        table = pyarrow.table({"a": [1]})
        stream = io.BytesIO()
        # A part is recognised by its metadata.
        metadata = parquet.read_schema(path).metadata
        parquet.write_table(table.replace_schema_metadata(metadata), stream)
        other = stream.getvalue()
    path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "other": other}[content])
    assert main(COMMAND) == 1
    said = capsys.readouterr().err
    assert f"{path} is damaged: " in said
    assert then in said
    assert path.suffix == ".json" or not Path("out/_archive/manifest.json").exists()
    if damaged.startswith("part"):
        path.unlink()
        assert main(COMMAND) == 0
        assert files() == NAMES


def test_inputs_that_are_damaged_before_their_part_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    [path] = Path("out").glob("_archive/inputs-*-00001.parquet")
    Path("out/part-00001.parquet").unlink()
    path.write_bytes(path.read_bytes()[:-20])
    assert main(COMMAND) == 1
    assert f"{path} is damaged: " in capsys.readouterr().err
    path.unlink()
    assert main(COMMAND) == 1
    assert f"{path} is missing: " in capsys.readouterr().err


def test_the_manifest_is_there_only_while_nothing_is_missing(fake: type[FakeClient]) -> None:
    touch(*NAMES)
    manifest = Path("out/_archive/manifest.json")
    assert main(COMMAND) == 0
    Path("out/part-00001.parquet").unlink()
    seen: list[bool] = []
    fake.asked = staticmethod(lambda recording: seen.append(manifest.exists()))
    assert main(COMMAND) == 0
    assert seen == [False] * PART
    Path("out/part-00001.parquet").replace("out/part-00000.parquet")
    assert main(COMMAND) == 1
    assert not manifest.exists()


@pytest.mark.parametrize("lost", ["part-00000.parquet", "_segments/part-00000.parquet"])
def test_a_timeline_without_its_segments_is_done_again(lost: str) -> None:
    touch("clips/a.wav", "clips/b.wav")
    command = [*COMMAND, "--timeline"]
    assert main(command) == 0
    Path("out", lost).unlink()
    assert main(command) == 0
    assert len(files()) == 2
    assert len(files("out/_segments")) == 4


def test_segments_of_other_recordings_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    touch(*NAMES)
    assert main([*COMMAND, "--timeline"]) == 0
    Path("out/_segments/part-00001.parquet").replace("out/_segments/part-00000.parquet")
    assert main([*COMMAND, "--timeline"]) == 1
    said = capsys.readouterr().err
    assert "_segments/part-00000.parquet has other rows than its 3 inputs" in said


def test_a_part_of_another_plan_is_done_again() -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    Path("out").rename("other")
    assert main(COMMAND) == 0
    Path("other/part-00001.parquet").replace("out/part-00001.parquet")
    assert main(COMMAND) == 0
    ids = {parquet.read_schema(path).metadata[PLAN_KEY.encode()] for path in Path("out").glob("p*")}
    assert len(ids) == 1
    assert files() == NAMES


@pytest.mark.parametrize("other", ["part-00003.parquet", "part-00001.parquet"])
def test_rows_that_are_lost_or_of_other_inputs_are_noticed(
    other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    Path("out", other).replace("out/part-00000.parquet")
    assert main(COMMAND) == 1
    assert "part-00000.parquet has other rows than its 3 inputs" in capsys.readouterr().err
