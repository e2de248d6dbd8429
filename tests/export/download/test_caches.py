"""Files in the hubs' caches: used if they are complete, otherwise repaired or reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.published import LARGE, TOKENS_TEXT
from tests.conftest import free_ports
from tests.export.download.checkpoint import BASE, HUBS, MIB, same, written
from tests.export.download.fetching import Home
from tests.hubs import LoopbackHub

OLD_TOKENS = TOKENS_TEXT.replace("厌恶/disgusted", "unuse_0")


@pytest.mark.parametrize("key", HUBS)
@pytest.mark.parametrize("name", ["published", "other"])
def test_a_truncated_or_altered_file_in_the_cache_is_reported_or_repaired(
    key: str, name: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    asked: dict[str, Any] = {"hub": key}
    if name == "published":
        asked["published"] = folder
    else:
        asked["name"] = BASE[key]
    whole = home.fetch(**asked).folder / "model.pt"
    data = folder.joinpath("model.pt").read_bytes()
    for damaged, clause in (
        (data[: 5 * MIB], f"model.pt has {5 * MIB:,} bytes instead of {12 * MIB:,}"),
        (data[:-1] + bytes([data[-1] ^ 1]), "model.pt has sha256 "),
    ):
        whole.resolve().write_bytes(damaged)
        answer = home.fetch(**asked)
        if key == "huggingface":
            assert clause in answer.error
            assert f"delete {whole.resolve()} and run this again" in answer.error
            whole.resolve().unlink()
            answer = home.fetch(**asked)
        elif name == "published":
            assert clause in answer.printed
        assert same(answer.folder, folder)


def test_a_damaged_published_file_is_an_error_where_no_hub_answers(
    hub: LoopbackHub, home: Home, folder: Path
) -> None:
    """`make run` must not continue with other weights."""
    cached = home.fetch(hub="huggingface", published=folder).folder / "model.pt"
    cached.resolve().write_bytes(b"short")
    home.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    answer = home.fetch(hub="huggingface", published=folder)
    assert answer.answer["kind"] == "ExportError"
    assert "model.pt has 5 bytes instead of" in answer.error


def test_an_unchecked_checkpoint_in_the_cache_is_used_if_no_hub_answers(
    home: Home, folder: Path
) -> None:
    home.fetch(name=BASE["huggingface"], hub="huggingface")
    home.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    answer = home.fetch(name=BASE["huggingface"], hub="huggingface")
    assert "unchecked" in answer.printed
    assert same(answer.folder, folder)
    assert not answer.answer["checked"]


@pytest.mark.parametrize("key", HUBS)
def test_an_old_revision_in_the_cache_is_not_taken_for_the_pinned_one(
    key: str, home: Home, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    old = written(tmp_path / "old", OLD_TOKENS)
    pinned = LARGE.revisions[key]
    with LoopbackHub({LARGE.names[key]: {"cd" * 20: old, pinned: folder}}) as hub:
        home.environment |= hub.environment
        assert same(home.fetch(hub=key, revision="cd" * 20).folder, old)
        assert same(home.fetch(hub=key).folder, folder)


def test_a_folder_that_older_libraries_left_is_not_taken_for_the_pinned_revision(
    home: Home, folder: Path, tmp_path: Path
) -> None:
    """ModelScope's library before 1.38 had one folder for all revisions; FunASR's users have it."""
    legacy = home.path / "modelscope" / "hub" / "models" / LARGE.names["modelscope"]
    legacy.mkdir(parents=True)
    written(legacy, OLD_TOKENS)
    answer = home.fetch(hub="modelscope", published=folder)
    assert "model.pt has sha256" in answer.printed
    assert same(answer.folder, folder)


@pytest.mark.parametrize("key", HUBS)
def test_files_that_are_missing_in_the_cache_are_fetched(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    whole = home.fetch(hub=key, published=folder).folder
    (whole / "tokens.txt").unlink()
    assert same(home.fetch(hub=key, published=folder).folder, folder)
