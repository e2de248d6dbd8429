"""The model store's sums: what is made passes, and any change is refused."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export.config import encoder_config
from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "model_store.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The script, as in the container: without the project's environment."""
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def config(weights: str) -> str:
    """The encoder's configuration, as an export writes it."""
    card = {"target": "cpu", "precision": "fp32", "embed_dim": 1024, "checkpoint": "iic/large"}
    return encoder_config({**card, "weights": weights})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository after an export and a run."""
    folder = tmp_path / "model_repository"
    for name, text in {
        "encoder/config.pbtxt": config("pretrained"),
        "encoder/1/model.onnx": "weights",
        "preprocess/config.pbtxt": "name: 'preprocess'",
        "preprocess/1/model.py": "import audio",
        "preprocess/1/__pycache__/model.cpython-311.pyc": "bytecode",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def store(repository: Path) -> tuple[Path, str]:
    """A store, and its digest."""
    made = run("make", repository, repository.with_name("store"))
    assert made.returncode == 0, made.stderr
    return repository.with_name("store"), made.stdout.strip()


def test_a_store_passes_its_check_and_that_of_sha256sum(store: tuple[Path, str]) -> None:
    folder, digest = store
    checked = run("check", folder, digest)
    assert (checked.returncode, checked.stderr) == (
        0,
        "model store: 4 files are as they were made\n",
    )
    assert not list(folder.rglob("__pycache__"))
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)


def test_the_same_models_have_the_same_digest(repository: Path, store: tuple[Path, str]) -> None:
    again = run("make", repository, repository.with_name("again"))
    assert again.stdout.strip() == store[1]


def change(folder: Path) -> None:
    (folder / "encoder" / "1" / "model.onnx").write_text("Weights")


def remove(folder: Path) -> None:
    (folder / "encoder" / "1" / "model.onnx").unlink()


def add(folder: Path) -> None:
    (folder / "preprocess" / "1" / "audio.py").write_text("")


def link(folder: Path) -> None:
    (folder / "preprocess" / "1" / "audio").symlink_to("/tmp")


def forge(folder: Path) -> None:
    """Changes a file together with its sum."""
    change(folder)
    sums = run_sums(folder)
    (folder / "SHA256SUMS").write_text(sums)


def run_sums(folder: Path) -> str:
    names = (folder / "SHA256SUMS").read_text().split()[1::2]
    return subprocess.run(
        ["sha256sum", *names], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def no_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (change, "model.onnx was changed"),
        (remove, "lacks encoder/1/model.onnx"),
        (add, "has preprocess/1/audio.py, which is not in SHA256SUMS"),
        (link, "preprocess/1/audio is a link"),
        (forge, "is expected: it is another store, or was changed"),
        (no_sums, "has no SHA256SUMS"),
    ],
)
def test_any_change_is_refused(
    store: tuple[Path, str], break_it: Callable[[Path], None], reason: str
) -> None:
    folder, digest = store
    break_it(folder)
    checked = run("check", folder, digest)
    assert checked.returncode == 1
    assert reason in checked.stderr
    assert checked.stderr.count("\n") == 1


def test_make_says_which_weights_the_store_has(repository: Path) -> None:
    made = run("make", repository, repository.with_name("store"))
    assert made.stderr == "model store: pretrained weights of iic/large, for cpu in fp32\n"
    # Commands keep what is on stdout: only the digest.
    assert len(made.stdout) == len(f"{'0' * 64}\n")


@pytest.mark.parametrize("weights", ["random", "demonstration"])
def test_weights_that_are_not_for_use_must_be_allowed(repository: Path, weights: str) -> None:
    (repository / "encoder" / "config.pbtxt").write_text(config(weights), "utf-8")
    store = repository.with_name("store")
    made = run("make", repository, store)
    assert (made.returncode, made.stdout) == (1, "")
    assert weights in made.stderr and "--any-weights" in made.stderr
    assert not store.exists()
    made = run("make", repository, store, "--any-weights")
    assert made.returncode == 0
    assert f"{weights} weights of" in made.stderr


def test_a_model_without_a_card_must_be_exported_again(repository: Path) -> None:
    (repository / "encoder" / "config.pbtxt").write_text("name: 'encoder'", "utf-8")
    made = run("make", repository, repository.with_name("store"))
    assert made.returncode == 1
    assert "has no model card: export the model again" in made.stderr


def test_it_runs_with_a_python_that_is_older_than_ours(repository: Path) -> None:
    """On a machine that only uploads: hashlib.file_digest came with 3.11."""
    source = SCRIPT.read_text("utf-8")
    ast.parse(source, feature_version=(3, 9))
    older = (
        "import hashlib, runpy; del hashlib.file_digest; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    arguments = ["make", str(repository), str(repository.with_name("store"))]
    subprocess.run([sys.executable, "-I", "-c", older, *arguments], check=True)


def test_only_an_exported_repository_becomes_a_store(repository: Path) -> None:
    (repository / "encoder" / "config.pbtxt").unlink()
    made = run("make", repository, repository.with_name("store"))
    assert (made.returncode, made.stdout) == (1, "")
    assert "holds no exported model: run `make export`" in made.stderr


def test_a_store_is_not_written_over_another(repository: Path, store: tuple[Path, str]) -> None:
    made = run("make", repository, store[0])
    assert made.returncode == 1
    assert "exists already" in made.stderr
