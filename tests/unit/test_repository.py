"""How many instances a model gets, and the repository that Triton gets for it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from server import triton
from server.errors import ServerError
from server.repository import instances, with_instances
from tests.conftest import ROOT

Gpus = Callable[..., None]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "model_repository"
    (folder / "encoder").mkdir(parents=True)
    serve_on(folder, "count: 1 kind: KIND_CPU")
    (folder / "encoder" / "1").mkdir()
    (folder / "encoder" / "1" / "model.onnx").write_text("graph")
    (folder / "preprocess" / "1").mkdir(parents=True)
    config = (ROOT / "model_repository" / "preprocess" / "config.pbtxt").read_text("utf-8")
    (folder / "preprocess" / "config.pbtxt").write_text(config, "utf-8")
    (folder / "preprocess" / "1" / "model.py").write_text("code")
    return folder


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Puts an ``nvidia-smi`` on the PATH that tells the memory of each GPU."""

    def have(*memory: str) -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir()
        lines = "".join(f"echo '{each}'\n" for each in memory)
        tool.write_text(f"#!/bin/sh\n{lines}exit {0 if memory else 9}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)

    return have


@pytest.mark.parametrize(("kind", "cores", "count"), [
    ("KIND_CPU", 16, 2), ("KIND_GPU", 16, 14), ("KIND_GPU", 3, 2), ("KIND_GPU", 1, 2),
])  # fmt: skip
def test_a_gpu_gets_a_decoder_for_each_core_but_two(
    kind: str, cores: int, count: int, repository: Path
) -> None:
    serve_on(repository, f"count: 1 kind: {kind}")
    counts = instances(repository, None, in_python=False, cores=cores)
    assert counts == {"preprocess": count}


def test_a_number_of_decoders_that_was_asked_for_is_kept(repository: Path) -> None:
    serve_on(repository, "count: 1 kind: KIND_GPU")
    assert instances(repository, 3, in_python=False, cores=16) == {"preprocess": 3}


@pytest.mark.parametrize(("group", "in_python", "encoders"), [
    ("count: 1 kind: KIND_GPU", True, 2),
    ("count: 1 kind: KIND_GPU", False, None),
    ("count: 1 kind: KIND_CPU", True, None),
    ("count: 1 kind: KIND_GPU gpus: [ 1 ]", True, None),
    ("count: 3 kind: KIND_GPU", True, None),
])  # fmt: skip
def test_a_backend_in_python_packs_a_batch_while_a_gpu_computes_another(
    group: str, in_python: bool, encoders: int | None, repository: Path, gpus: Gpus
) -> None:
    gpus("81559")
    serve_on(repository, group)
    assert instances(repository, None, in_python=in_python).get("encoder") == encoders


@pytest.mark.parametrize(("memory", "precision", "encoders"), [
    (["15360"], "fp16", 2),
    (["15360"], "fp32", 1),
    (["8188"], "fp16", 1),
    (["81559", "8188"], "fp16", 1),
    (["[N/A]"], "fp16", 1),
    ([], "fp16", 1),
])  # fmt: skip
def test_a_small_gpu_gets_one_encoder(
    memory: list[str], precision: str, encoders: int, repository: Path, gpus: Gpus
) -> None:
    gpus(*memory)
    serve_on(repository, "count: 1 kind: KIND_GPU", precision)
    assert instances(repository, None, in_python=True)["encoder"] == encoders


def test_a_repository_without_a_model_card_gets_one_encoder(repository: Path, gpus: Gpus) -> None:
    gpus("81559")
    serve_on(repository, "count: 1 kind: KIND_GPU")
    (repository / "encoder" / "model_card.json").unlink()
    assert instances(repository, None, in_python=True)["encoder"] == 1


@pytest.mark.parametrize(("counts", "pools"), [
    ({"preprocess": 2}, 6),
    ({"preprocess": 14, "encoder": 2}, 19),
])  # fmt: skip
def test_the_processes_never_reserve_all_of_a_small_shared_memory(
    counts: dict[str, int], pools: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    assert triton._pool_bytes(counts) == 64 * 2**20 // pools
    least = pools * 2**20 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=least))
    with pytest.raises(ServerError, match=f"needs at least {pools} MB"):
        triton._pool_bytes(counts)


def test_the_repository_stays_if_its_numbers_are_right(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert with_instances(repository, {"preprocess": 2, "encoder": 1}, folder) == repository
    assert list(folder.iterdir()) == []


def test_a_missing_model_is_left_to_triton(repository: Path) -> None:
    shutil.rmtree(repository / "preprocess")
    assert instances(repository, 14, in_python=True) == {}


def test_other_numbers_change_nothing_else(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    before = {path: path.read_text("utf-8") for path in repository.rglob("*") if path.is_file()}
    assert with_instances(repository, {"preprocess": 14, "encoder": 2}, folder) == folder
    for path, text in before.items():
        expected = text.replace("count: 2", "count: 14").replace("count: 1 ", "count: 2 ")
        if path.name != "config.pbtxt":
            expected = text
        assert (folder / path.relative_to(repository)).read_text("utf-8") == expected
        assert path.read_text("utf-8") == text


def test_a_model_whose_number_is_right_is_linked(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with_instances(repository, {"preprocess": 14, "encoder": 1}, folder)
    assert (folder / "encoder").resolve() == (repository / "encoder").resolve()


def test_a_configuration_in_another_form_is_refused(repository: Path, tmp_path: Path) -> None:
    (repository / "preprocess" / "config.pbtxt").write_text("name: 'preprocess'")
    with pytest.raises(ServerError, match=r"preprocess/config\.pbtxt has no instance_group"):
        with_instances(repository, {"preprocess": 4}, tmp_path)


def serve_on(repository: Path, group: str, precision: str = "fp16") -> None:
    config = f"instance_group [ {{ {group} }} ]"
    (repository / "encoder" / "config.pbtxt").write_text(config)
    (repository / "encoder" / "model_card.json").write_text(json.dumps({"precision": precision}))
