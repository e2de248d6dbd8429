"""Results on disk: complete, separate from each other, and removed in time."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.outputs import AUDIO, EMBEDDING, RESULT, UNFINISHED, Store, npy

NOON = datetime(2026, 1, 4, 12, 0, 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs", keep_results=100, keep_hours=1)


def save(store: Store, mark: str, when: datetime = NOON, embedding: bool = False) -> Any:
    array = np.full(4, len(mark), np.float32) if embedding else None
    result: Any = {"mark": mark}
    return store.save(result, {AUDIO: mark.encode(), **npy(array)}, when)


def folders(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())


def test_a_result_is_its_files_and_names_them(store: Store) -> None:
    saved = save(store, "a", embedding=True)
    folder = Path(saved["output_dir"])
    assert folder == store.root / "outputs_20260104_120000"
    assert {path.name for path in folder.iterdir()} == {AUDIO, RESULT, EMBEDDING}
    assert json.loads((folder / RESULT).read_text()) == saved
    assert store.read(folder.name) == saved
    assert saved["files"][EMBEDDING] == f"/outputs/{folder.name}/embedding.npy"
    assert EMBEDDING not in save(store, "b")["files"]


def test_results_of_one_second_neither_collide_nor_mix(store: Store) -> None:
    marks = [f"clip {number}" for number in range(40)]
    with ThreadPoolExecutor(16) as pool:
        saved = list(pool.map(lambda mark: save(store, mark), marks))
    assert len({result["output_dir"] for result in saved}) == 40
    for mark, result in zip(marks, saved, strict=True):
        folder = Path(result["output_dir"])
        assert (folder / AUDIO).read_text() == mark
        assert json.loads((folder / RESULT).read_text())["mark"] == mark
        assert result["files"][AUDIO] == f"/outputs/{folder.name}/{AUDIO}"
    assert all(name.startswith("outputs_20260104_120000") for name in folders(store))


def test_two_gateways_may_share_a_folder(store: Store) -> None:
    other = Store(store.root, keep_results=100, keep_hours=1)
    paths = [save(each, "x")["output_dir"] for each in (store, other, store, other)]
    assert len(set(paths)) == 4


def test_a_result_that_cannot_be_written_leaves_nothing(store: Store) -> None:
    store.root.mkdir()
    unwritable: Any = {"mark": object()}
    with pytest.raises(TypeError):
        store.save(unwritable, {AUDIO: b""}, NOON)
    assert folders(store) == []


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("..", "secret"),
        ("outputs_20260104_120000", "../../secret"),
        ("outputs_20260104_120000/..", "result.json"),
        ("outputs_20260104_120000", "secret"),
        ("other", "result.json"),
        (".", "result.json"),
        ("outputs_20260104_120001", "result.json"),
    ],
)
def test_only_files_of_results_are_found(store: Store, folder: str, file: str) -> None:
    save(store, "a")
    for place in (store.root, store.root.parent, store.root / "outputs_20260104_120000"):
        (place / "secret").write_text("secret")
    (store.root / "other").mkdir()
    (store.root / "other" / RESULT).write_text("{}")
    (store.root / RESULT).write_text("{}")
    # As a result of another name would be, but a way out.
    (store.root / "outputs_20260104_120001").symlink_to(store.root / "other")
    with pytest.raises(FileNotFoundError, match="no result file"):
        store.find(folder, file)


def test_the_oldest_go_when_there_are_too_many(store: Store) -> None:
    few = Store(store.root, keep_results=3, keep_hours=1)
    now = time.time()
    for second in range(6):
        folder = save(few, str(second), NOON.replace(second=second))["output_dir"]
        os.utime(folder, (now - 60 + second, now - 60 + second))
    few.prune()
    assert folders(few) == [f"outputs_20260104_12000{second}" for second in (3, 4, 5)]


def test_old_results_are_removed_and_other_files_stay(store: Store) -> None:
    old = Path(save(store, "old")["output_dir"])
    fresh = Path(save(store, "fresh")["output_dir"])
    crashed, working = store.root / f"{UNFINISHED}old", store.root / f"{UNFINISHED}new"
    for path in (crashed, working, store.root / "outputs_of_mine"):
        path.mkdir()
    (store.root / "notes.txt").write_text("mine")
    long_ago = time.time() - 7200
    for path in (old, crashed, store.root / "outputs_of_mine", store.root / "notes.txt"):
        os.utime(path, (long_ago, long_ago))
    store.prune()
    assert folders(store) == sorted([fresh.name, working.name, "outputs_of_mine", "notes.txt"])


def test_a_result_is_removed_with_all_its_files(store: Store) -> None:
    first, second = (Path(save(store, mark, embedding=True)["output_dir"]) for mark in "ab")
    store.remove(first.name)
    assert folders(store) == [second.name]
    with pytest.raises(FileNotFoundError, match="there is no result"):
        store.remove(first.name)


@pytest.mark.parametrize("folder", ["..", ".", "other", "notes", "outputs_20260104_120001", ""])
def test_nothing_but_a_result_is_removed(store: Store, folder: str) -> None:
    save(store, "a")
    (store.root / "other").mkdir()
    (store.root / "other" / RESULT).write_text("{}")
    (store.root / "notes").write_text("mine")
    # As a result of another name would be, but a way out.
    (store.root / "outputs_20260104_120001").symlink_to(store.root / "other")
    before = folders(store)
    with pytest.raises(FileNotFoundError, match="there is no result"):
        store.remove(folder)
    assert folders(store) == before
    assert (store.root / "other" / RESULT).is_file()


def test_what_a_result_links_to_stays(store: Store) -> None:
    folder = Path(save(store, "a")["output_dir"])
    (store.root / "other").mkdir()
    (store.root / "other" / "mine").write_text("mine")
    (folder / "link").symlink_to(store.root / "other")
    store.remove(folder.name)
    assert folders(store) == ["other"]
    assert (store.root / "other" / "mine").is_file()


def test_a_store_that_keeps_nothing_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "outputs", keep_results=0, keep_hours=1)
    assert save(store, "a", embedding=True) == {"mark": "a"}
    assert not store.root.exists()
    # It also removes what was kept before.
    save(Store(store.root, keep_results=1, keep_hours=1), "b")
    store.prune()
    assert folders(store) == []


def test_the_audio_alone_may_be_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "outputs", keep_results=9, keep_hours=1, keep_audio=False)
    saved = save(store, "a", embedding=True)
    assert set(saved["files"]) == {RESULT, EMBEDDING}
    assert {path.name for path in Path(saved["output_dir"]).iterdir()} == {RESULT, EMBEDDING}
