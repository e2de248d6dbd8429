"""Downloads that break off, stall, or deliver something other than the hub's file."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from benchmarks.launch import own_disk
from export.published import LARGE
from tests.conftest import ROOT
from tests.export.download.checkpoint import HUBS, MIB, TITLES, same
from tests.export.download.fetching import Home
from tests.hubs import Fault, LoopbackHub


def downloads(hub: LoopbackHub) -> list[str]:
    """The requests for model.pt at the hub or at its CDN."""
    return [
        request.path
        for request in hub.requests
        if request.method == "GET" and ("xet-bridge" in request.path or "lfs-obj" in request.path)
    ]


def killed(home: Home, hub: LoopbackHub, key: str, place: int) -> int | None:
    """The exit status of a call that is killed after this many bytes of model.pt."""
    started: queue.Queue[BaseProcess] = queue.Queue()
    path = {"modelscope": "/lfs-objects/", "huggingface": "/xet-bridge-us/"}[key]
    hub.faults = [Fault(path, 1, call=(place, lambda: started.get().kill()))]
    process, answers = home.start({"hub": key})
    started.put(process)
    process.join()
    answers.close()
    return process.exitcode


@pytest.mark.parametrize("key", HUBS)
def test_a_killed_download_is_never_taken_for_whole(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    for place in (0, 1, 7 * MIB):
        assert killed(home, hub, key, place) == -signal.SIGKILL
    hub.faults = []
    assert same(home.fetch(hub=key).folder, folder)


def test_a_download_from_modelscope_is_resumed(hub: LoopbackHub, home: Home, folder: Path) -> None:
    """Only the hub of the first part gets requests."""
    killed(home, hub, "modelscope", 7 * MIB)
    hub.faults, hub.requests[:] = [], []
    answer = home.fetch()
    assert "asking ModelScope ..." in answer.printed
    assert answer.answer["name"] == LARGE.names["modelscope"]
    assert same(answer.folder, folder)
    ranges = [request.range for request in hub.requests if "lfs-objects" in request.path]
    assert ranges
    assert not any(each in ("", "bytes=0-") for each in ranges)


@pytest.mark.parametrize("key", HUBS)
def test_a_cut_connection_is_resumed(key: str, hub: LoopbackHub, home: Home, folder: Path) -> None:
    hub.faults = [Fault("/xet-bridge-us/", 1, cut=11 * MIB), Fault("/lfs-objects/", 1, cut=5 * MIB)]
    assert same(home.fetch(hub=key).folder, folder)
    assert len(downloads(hub)) > 1


@pytest.mark.parametrize("key", HUBS)
def test_a_connection_that_stalls_has_a_time_limit(key: str, hub: LoopbackHub, home: Home) -> None:
    # Hugging Face's library tries six times; one stall is enough to test the limit.
    hub.faults = [
        Fault("/xet-bridge-us/", 5, cut=MIB),
        Fault("/xet-bridge-us/", stall=MIB),
        Fault("/lfs-objects/", stall=MIB),
    ]
    home.environment |= {
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "MODELSCOPE_DOWNLOAD_TIMEOUT": "1",
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "0",
    }
    answer = home.fetch(hub=key)
    assert f"from {TITLES[key]} broke off (" in answer.error
    assert "run this again" in answer.error


@pytest.mark.parametrize("key", HUBS)
def test_a_reset_connection_is_reported_or_resumed(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    hub.faults = [
        Fault("/xet-bridge-us/", 1, cut=MIB, reset=True),
        Fault("/lfs-objects/", 1, cut=MIB, reset=True),
    ]
    answer = home.fetch(hub=key)
    if "error" in answer.answer:
        assert "broke off (" in answer.error
        answer = home.fetch(hub=key)
    assert same(answer.folder, folder)


@pytest.mark.parametrize("key", HUBS)
def test_a_file_altered_in_transit_is_detected_by_its_hash(
    key: str, hub: LoopbackHub, home: Home
) -> None:
    hub.faults = [Fault("/xet-bridge-us/", alter=3 * MIB), Fault("/lfs-objects/", alter=3 * MIB)]
    home.environment["MODELSCOPE_DOWNLOAD_MAX_RETRIES"] = "0"
    answer = home.fetch(hub=key)
    assert answer.answer["kind"] == "ExportError"
    if key == "huggingface":  # ModelScope's library checks the hash itself.
        assert "model.pt has sha256 " in answer.error
        assert "delete " in answer.error
        path = Path(answer.error.split("delete ")[1].split(" and run")[0])
        path.unlink()
    hub.faults = []
    assert home.fetch(hub=key).answer["checked"]


@pytest.mark.parametrize("key", HUBS)
def test_a_file_that_comes_short_is_an_error(key: str, hub: LoopbackHub, home: Home) -> None:
    hub.faults = [Fault("/xet-bridge-us/", short=MIB), Fault("/lfs-objects/", short=MIB)]
    answer = home.fetch(hub=key)
    assert f"from {TITLES[key]} broke off (" in answer.error


@pytest.mark.parametrize("key", HUBS)
def test_a_full_disk_is_reported_with_the_variable_that_moves_the_cache(
    key: str, home: Home
) -> None:
    code = f"from export import download; download.fetch(None, {key!r}, None)"
    ended = subprocess.run(
        [*own_disk(home.path, 6), sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, **home.variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    variable = {"modelscope": "MODELSCOPE_CACHE", "huggingface": "HF_HOME"}[key]
    assert "is too full for the checkpoint's 13 MB" in ended.stderr
    assert f"set {variable} to a folder on another disk" in ended.stderr
