"""Each invalid setting stops the start with one sentence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway import check
from gateway.check import SettingsError, read_settings
from gateway.settings import Settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("E2V_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("E2V_TIMOUT", "3", "E2V_TIMOUT is not a setting: did you mean E2V_TIMEOUT?"),
        ("E2V_QUX", "1", "E2V_QUX is not a setting: docs/gateway.md lists all"),
        ("E2V_TIMEOUT", "soon", "^E2V_TIMEOUT is 'soon': give a number$"),
        ("E2V_KEEP_HOURS", "0", "^E2V_KEEP_HOURS is '0': give more than 0$"),
        ("E2V_PORT", "abc", "^E2V_PORT is 'abc': give a whole number$"),
        ("E2V_PORT", "99999", "^E2V_PORT is '99999': give 65535 or less$"),
        ("E2V_MAX_FILES", "0", "^E2V_MAX_FILES is '0': give 1 or more$"),
        ("E2V_KEEP_AUDIO", "maybe", "^E2V_KEEP_AUDIO is 'maybe': give true or false$"),
        ("E2V_CORS_ORIGINS", "x", "^E2V_CORS_ORIGINS cannot be used: 'x' is not an origin: use"),
        ("E2V_API_KEYS", "", "^E2V_API_KEYS cannot be used: it is set but has no key in it"),
        ("E2V_API_KEYS", ",", "^E2V_API_KEYS cannot be used: it is set but has no key in it"),
        ("E2V_API_KEYS", " ,\t, ", "^E2V_API_KEYS cannot be used: it is set but has no key in it"),
        ("E2V_TRITON_URL", "foo://x", "E2V_TRITON_URL cannot be used: .*url is 'foo://x'"),
    ],
)
def test_an_invalid_variable_is_reported(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=sentence):
        read_settings()


def test_the_grace_for_the_server_follows_the_timeout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("E2V_TIMEOUT", "70")
    monkeypatch.setenv("E2V_KEEP_RESULTS", "0")
    monkeypatch.setenv("E2V_PORT", "0")
    monkeypatch.setattr("sys.argv", ["check", "--grace"])
    assert check.main() == 0
    assert float(capsys.readouterr().out) == Settings().grace > 70


def test_several_invalid_variables_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("E2V_TIMOUT", "E2V_MAX_WAIT"):
        monkeypatch.setenv(name, "no")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("host", "keys", "opens"),
    [
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("::1", None, True),
        ("0.0.0.0", None, False),
        ("example.org", None, False),
        ("0.0.0.0", "key", True),
    ],
)
def test_production_needs_keys_on_a_network(
    monkeypatch: pytest.MonkeyPatch, host: str, keys: str | None, opens: bool
) -> None:
    monkeypatch.setenv("E2V_HOST", host)
    if keys is None:
        monkeypatch.delenv("E2V_API_KEYS", raising=False)
    else:
        monkeypatch.setenv("E2V_API_KEYS", keys)
    assert read_settings(production=False).host == host
    if opens:
        read_settings(production=True)
    else:
        with pytest.raises(SettingsError, match=f"refuses a gateway on {host}"):
            read_settings(production=True)


def test_a_taken_port_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["check"])
    monkeypatch.setenv("E2V_OUTPUTS", str(tmp_path / "outputs"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("E2V_PORT", str(port))
        assert check.main() == 1
    assert f"gateway: cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    assert check.main() == 0


def test_a_folder_without_write_permission_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SettingsError, match=r"results cannot be kept in .*E2V_OUTPUTS"):
        check.check_outputs(Settings(outputs=tmp_path / "file" / "outputs"))
    # Without kept results, no folder is needed.
    check.check_outputs(Settings(outputs=tmp_path / "file" / "outputs", keep_results=0))
