"""How many processes decode, and the repository that Triton gets for it."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest

from server.errors import ServerError
from server.repository import decoders, with_decoders
from tests.conftest import ROOT


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "model_repository"
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "config.pbtxt").write_text("instance_group [ { kind: KIND_CPU } ]")
    (folder / "preprocess" / "1").mkdir(parents=True)
    config = (ROOT / "model_repository" / "preprocess" / "config.pbtxt").read_text("utf-8")
    (folder / "preprocess" / "config.pbtxt").write_text(config, "utf-8")
    (folder / "preprocess" / "1" / "model.py").write_text("code")
    return folder


@pytest.mark.parametrize(("kind", "cores", "count"), [
    ("KIND_CPU", 16, 2), ("KIND_GPU", 16, 14), ("KIND_GPU", 3, 2), ("KIND_GPU", 1, 2),
])  # fmt: skip
def test_a_gpu_gets_a_decoder_for_each_core_but_two(
    kind: str, cores: int, count: int, repository: Path
) -> None:
    config = f"instance_group [ {{ count: 1 kind: {kind} }} ]"
    (repository / "encoder" / "config.pbtxt").write_text(config)
    assert decoders(repository, cores) == count


def test_the_repository_stays_if_its_number_is_right(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert with_decoders(repository, 2, folder) == repository
    assert list(folder.iterdir()) == []


def test_a_missing_model_is_left_to_triton(repository: Path, tmp_path: Path) -> None:
    rmtree(repository / "preprocess")
    assert with_decoders(repository, 14, tmp_path / "folder") == repository


def test_another_number_changes_nothing_else(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    before = (repository / "preprocess" / "config.pbtxt").read_text("utf-8")
    assert with_decoders(repository, 14, folder) == folder
    text = (folder / "preprocess" / "config.pbtxt").read_text("utf-8")
    assert text == before.replace("count: 2", "count: 14")
    assert (repository / "preprocess" / "config.pbtxt").read_text("utf-8") == before
    assert (folder / "preprocess" / "1" / "model.py").read_text() == "code"
    assert (folder / "encoder").resolve() == (repository / "encoder").resolve()


def test_a_configuration_in_another_form_is_refused(repository: Path, tmp_path: Path) -> None:
    (repository / "preprocess" / "config.pbtxt").write_text("name: 'preprocess'")
    with pytest.raises(ServerError, match=r"preprocess/config\.pbtxt has no instance_group"):
        with_decoders(repository, 4, tmp_path)
