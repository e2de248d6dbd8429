"""Reasons not to start the server, which are reported before Triton starts."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from server import installation
from server.errors import ServerError
from server.settings import Settings
from server.triton import Triton
from tests.conftest import settings_for


def start(settings: Settings) -> None:
    with Triton(settings):
        raise AssertionError("it started")


def test_a_repository_without_a_model_says_how_to_get_one(
    empty_repository: Callable[[], Path],
) -> None:
    with pytest.raises(ServerError, match="no exported model: run `make export`"):
        start(settings_for(empty_repository()))


def test_a_missing_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="nowhere does not exist"):
        start(settings_for(tmp_path / "nowhere"))


@pytest.mark.parametrize("option", ["http-port", "grpc-port", "metrics-port"])
def test_a_taken_port_names_the_option(empty_repository: Callable[[], Path], option: str) -> None:
    repository = empty_repository()
    # The ports are checked before the model is read.
    (repository / "encoder").mkdir()
    (repository / "encoder" / "config.pbtxt").touch()
    settings = settings_for(repository)
    port = getattr(settings, option.replace("-", "_"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port} .*--{option}"):
            start(settings)


@pytest.fixture
def no_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "CONTAINER", tmp_path)


@pytest.mark.usefixtures("no_container")
def test_a_missing_wheel_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerError, match="nvidia-pytriton wheel is not installed"):
        installation.find()


@pytest.mark.usefixtures("no_container")
def test_a_python_without_a_stub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Version:
        major, minor = 3, 99

    monkeypatch.setattr("sys.version_info", Version)
    with pytest.raises(ServerError, match=r"no stub for Python 3\.99.*3\.11"):
        installation.find()


@pytest.mark.usefixtures("no_container")
def test_a_missing_libpython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"INSTSONAME": "libpython3.x-none.so.1.0"}
    monkeypatch.setattr("sysconfig.get_config_var", names.get)
    with pytest.raises(ServerError, match=r"libpython3\.x-none\.so\.1\.0.*--enable-shared"):
        installation.find()
