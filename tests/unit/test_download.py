"""Named checkpoints, through the hubs' real libraries, from hubs that fail in every way."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.launch import own_disk
from export.published import FILES, LARGE, TOKENS_TEXT
from tests.conftest import ROOT, free_ports
from tests.hubs import Fault, LoopbackHub

BASE = {
    "modelscope": "iic/emotion2vec_plus_base",
    "huggingface": "emotion2vec/emotion2vec_plus_base",
}
TITLES = {"modelscope": "ModelScope", "huggingface": "Hugging Face"}
HUBS = list(TITLES)
OLD_TOKENS = TOKENS_TEXT.replace("厌恶/disgusted", "unuse_0")
MIB = 1 << 20

PROGRAM = """
import json, sys
from dataclasses import replace
from export import download, published
from export.errors import ExportError

options = json.loads(sys.argv[1])
download.ANSWER_SECONDS = options.pop("answer_seconds", download.ANSWER_SECONDS)
if folder := options.pop("published", None):
    # As if what the hub serves were the published checkpoint.
    from pathlib import Path
    files = {name: published.measure(Path(folder) / name) for name in published.FILES}
    published.LARGE.files.update(files)
usual = {"name": None, "hub": None, "revision": None}
try:
    found = download.fetch(**usual | options)
except ExportError as error:
    answer = {"kind": type(error).__name__, "error": str(error)}
else:
    answer = {"folder": str(found.folder), "name": found.name, "checked": found.files is not None}
print("ANSWER", json.dumps(answer))
"""


@dataclass
class Answer:
    """What became of one call of ``fetch``."""

    printed: str
    answer: dict[str, Any]

    @property
    def folder(self) -> Path:
        assert "folder" in self.answer, self.answer
        return Path(self.answer["folder"])

    @property
    def error(self) -> str:
        assert "error" in self.answer, self.answer
        return str(self.answer["error"])


@dataclass
class Home:
    """A user's caches, and the hubs as this user reaches them."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, within: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        """One call of ``fetch`` in a process of its own."""
        caches = {
            "HF_HOME": str(self.path / "huggingface"),
            "MODELSCOPE_CACHE": str(self.path / "modelscope"),
            "MODELSCOPE_HOME": str(self.path / "modelscope-home"),
        }
        return subprocess.Popen(
            [*within, sys.executable, "-c", PROGRAM, json.dumps(options)],
            cwd=ROOT,
            env={**os.environ, **caches, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fetch(self, within: Sequence[str] = (), **options: Any) -> Answer:
        """The same, waited for."""
        printed, errors = self.start(within, **options).communicate()
        *lines, last = printed.splitlines() or [""]
        assert last.startswith("ANSWER "), errors
        return Answer("\n".join(lines), json.loads(last.removeprefix("ANSWER ")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a hub has of a checkpoint, as far as downloading goes."""
    return written(tmp_path_factory.mktemp("checkpoint"), TOKENS_TEXT)


def written(folder: Path, tokens: str) -> Path:
    (folder / "config.yaml").write_text("model: Emotion2vec\n", "utf-8")
    (folder / "tokens.txt").write_text(tokens, "utf-8")
    # Larger than what Hugging Face's library asks for at once, and no zeros.
    (folder / "model.pt").write_bytes(os.urandom(12 * MIB))
    (folder / "README.md").write_text("not wanted\n", "utf-8")
    return folder


@pytest.fixture
def hub(folder: Path) -> Iterator[LoopbackHub]:
    """Both hubs, with all that is published."""
    names = [*LARGE.names.values(), *BASE.values()]
    pinned = dict.fromkeys(LARGE.revisions.values(), folder)
    with LoopbackHub({name: {"ab" * 20: folder, **pinned} for name in names}) as running:
        yield running


@pytest.fixture
def home(hub: LoopbackHub, tmp_path: Path) -> Home:
    return Home(tmp_path, dict(hub.environment))


def same(folder: Path, other: Path) -> bool:
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def downloads(hub: LoopbackHub) -> list[str]:
    """What was asked of model.pt itself, or of the CDN that has it."""
    return [
        request.path
        for request in hub.requests
        if request.method == "GET" and ("xet-bridge" in request.path or "lfs-obj" in request.path)
    ]


def killed(home: Home, hub: LoopbackHub, key: str, place: int) -> int:
    """The exit status of a call that is killed when so many bytes of model.pt were sent."""
    started: queue.Queue[subprocess.Popen[str]] = queue.Queue()
    path = {"modelscope": "/lfs-objects/", "huggingface": "/xet-bridge-us/"}[key]
    hub.faults = [Fault(path, 1, call=(place, lambda: started.get().kill()))]
    process = home.start(hub=key)
    started.put(process)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("key", HUBS)
def test_the_published_checkpoint_is_downloaded_once_and_then_nobody_is_asked(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    first = home.fetch(hub=key, published=str(folder))
    assert same(first.folder, folder)
    assert "fetching what is missing of 13 MB into" in first.printed
    assert not (first.folder / "README.md").exists()
    assert first.answer["name"] == LARGE.names[key]
    assert f"{TITLES[key]} answered first" in first.printed
    assert LARGE.revisions[key] in first.printed
    hub.requests.clear()
    # Also without --hub, and with no hub to ask.
    again = home.fetch(published=str(folder))
    assert again.folder == first.folder
    assert "whole and as published" in again.printed
    assert not hub.requests


def test_the_first_hub_that_answers_is_taken_and_the_line_says_why(
    hub: LoopbackHub, home: Home
) -> None:
    hub.faults = [Fault("/api/v1/", silent=True)]
    answer = home.fetch()
    assert answer.answer["name"] == LARGE.names["huggingface"]
    assert "asking ModelScope and Hugging Face" in answer.printed
    assert "Hugging Face answered first, after " in answer.printed
    hub.faults = [Fault("/api/models/", status=503)]
    other = home.fetch(name=BASE["huggingface"])
    assert other.answer["name"] == BASE["modelscope"]


def test_where_one_hub_refuses_the_other_is_taken(hub: LoopbackHub, home: Home) -> None:
    hub.faults = [Fault("/api/models/", status=403)]
    answer = home.fetch()
    assert answer.answer["name"] == LARGE.names["modelscope"]
    assert "ModelScope answered first" in answer.printed


@pytest.mark.parametrize("key", HUBS)
@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "log in"), (403, "log in"), (404, "has no"), (503, "cannot answer now")],
)
def test_a_hub_that_refuses_is_an_error_and_not_unreachable(
    key: str, status: int, sentence: str, hub: LoopbackHub, home: Home
) -> None:
    hub.faults = [Fault(status=status)]
    answer = home.fetch(hub=key)
    assert answer.answer["kind"] == "ExportError"
    assert TITLES[key] in answer.error
    assert sentence in answer.error
    assert f"HTTP {status}" in answer.error
    assert "--checkpoint" in answer.error


@pytest.mark.parametrize("key", HUBS)
def test_an_unknown_revision_is_told(key: str, home: Home) -> None:
    answer = home.fetch(hub=key, revision="cd" * 20)
    assert answer.answer["kind"] == "ExportError"
    assert f"{TITLES[key]} has no " in answer.error
    assert "--revision" in answer.error


def test_without_any_hub_it_is_unreachable(home: Home) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    home.environment |= {"HF_ENDPOINT": nowhere, "MODELSCOPE_ENDPOINT": nowhere}
    answer = home.fetch()
    assert answer.answer["kind"] == "HubUnreachableError"
    for title in TITLES.values():
        assert f"{title} does not answer (Connection refused)" in answer.error


def test_a_hub_that_never_answers_has_a_time_limit(hub: LoopbackHub, home: Home) -> None:
    hub.faults = [Fault(silent=True)]
    answer = home.fetch(answer_seconds=1)
    assert answer.answer["kind"] == "HubUnreachableError"
    assert "ModelScope has not answered within 1 s" in answer.error


def test_what_is_no_hub_does_not_count_as_one(folder: Path, tmp_path: Path) -> None:
    """As a hotel's login page, which answers 200 to everything."""
    with LoopbackHub({}) as portal:
        portal.answer = lambda path: (200, b"<html>Please log in</html>", {})  # type: ignore[method-assign]
        answer = Home(tmp_path, dict(portal.environment)).fetch()
    assert answer.answer["kind"] == "HubUnreachableError"


@pytest.mark.parametrize("key", HUBS)
def test_a_killed_download_is_never_taken_for_whole(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    for place in (0, 1, 7 * MIB):
        assert killed(home, hub, key, place) == -signal.SIGKILL
    hub.faults = []
    assert same(home.fetch(hub=key).folder, folder)


def test_what_modelscope_has_begun_is_gone_on_with(
    hub: LoopbackHub, home: Home, folder: Path
) -> None:
    """And the hub from which it came is asked first, whoever answers sooner."""
    killed(home, hub, "modelscope", 7 * MIB)
    hub.faults, hub.requests[:] = [], []
    answer = home.fetch()
    assert answer.answer["name"] == LARGE.names["modelscope"]
    assert same(answer.folder, folder)
    ranges = [request.range for request in hub.requests if "lfs-objects" in request.path]
    assert ranges
    assert not any(each in ("", "bytes=0-") for each in ranges)


@pytest.mark.parametrize("key", HUBS)
def test_a_connection_that_is_cut_is_taken_up_again(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    hub.faults = [Fault("/xet-bridge-us/", 1, cut=11 * MIB), Fault("/lfs-objects/", 1, cut=5 * MIB)]
    assert same(home.fetch(hub=key).folder, folder)
    assert len(downloads(hub)) > 1


@pytest.mark.parametrize("key", HUBS)
def test_a_connection_that_stalls_has_a_time_limit(key: str, hub: LoopbackHub, home: Home) -> None:
    hub.faults = [Fault("/xet-bridge-us/", stall=MIB), Fault("/lfs-objects/", stall=MIB)]
    home.environment |= {
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "MODELSCOPE_DOWNLOAD_TIMEOUT": "1",
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1",
    }
    answer = home.fetch(hub=key)
    assert f"from {TITLES[key]} broke off (" in answer.error
    assert "run this again" in answer.error


@pytest.mark.parametrize("key", HUBS)
def test_a_connection_that_is_reset_is_told_or_taken_up_again(
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
def test_a_file_that_is_altered_on_its_way_is_told_by_its_hash(
    key: str, hub: LoopbackHub, home: Home
) -> None:
    hub.faults = [Fault("/xet-bridge-us/", alter=3 * MIB), Fault("/lfs-objects/", alter=3 * MIB)]
    home.environment["MODELSCOPE_DOWNLOAD_MAX_RETRIES"] = "0"
    answer = home.fetch(hub=key)
    assert answer.answer["kind"] == "ExportError"
    if key == "huggingface":  # ModelScope's library finds it by itself.
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
@pytest.mark.parametrize("name", ["published", "other"])
def test_a_cached_file_that_was_truncated_or_altered_is_told_or_mended(
    key: str, name: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    asked: dict[str, Any] = {"hub": key}
    if name == "published":
        asked["published"] = str(folder)
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
    """And no reason for `make run` to go on with other weights."""
    cached = home.fetch(hub="huggingface", published=str(folder)).folder / "model.pt"
    cached.resolve().write_bytes(b"short")
    home.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    answer = home.fetch(hub="huggingface", published=str(folder))
    assert answer.answer["kind"] == "ExportError"
    assert "model.pt has 5 bytes instead of" in answer.error


def test_a_cached_checkpoint_of_which_nothing_is_known_is_taken_where_no_hub_answers(
    home: Home, folder: Path
) -> None:
    home.fetch(name=BASE["huggingface"], hub="huggingface")
    home.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    answer = home.fetch(name=BASE["huggingface"], hub="huggingface")
    assert "as it is" in answer.printed
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
    """ModelScope's of before 1.38 had one folder for all revisions; FunASR's users have it."""
    legacy = home.path / "modelscope" / "hub" / "models" / LARGE.names["modelscope"]
    legacy.mkdir(parents=True)
    written(legacy, OLD_TOKENS)
    answer = home.fetch(hub="modelscope", published=str(folder))
    assert "model.pt has sha256" in answer.printed
    assert same(answer.folder, folder)


@pytest.mark.parametrize("key", HUBS)
def test_files_that_are_missing_in_the_cache_are_fetched(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    whole = home.fetch(hub=key, published=str(folder)).folder
    (whole / "tokens.txt").unlink()
    assert same(home.fetch(hub=key, published=str(folder)).folder, folder)


@pytest.mark.parametrize("key", HUBS)
def test_a_full_disk_is_told_with_the_variable_that_moves_the_cache(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    answer = home.fetch(own_disk(home.path, 6), hub=key)
    variable = {"modelscope": "MODELSCOPE_CACHE", "huggingface": "HF_HOME"}[key]
    assert "is too full for the checkpoint's 13 MB" in answer.error
    assert f"set {variable} to a folder on another disk" in answer.error


def test_a_proxys_refusal_is_no_answer_of_a_hub(home: Home) -> None:
    home.environment |= {
        "HTTP_PROXY": f"http://127.0.0.1:{free_ports(1)[0]}",
        "NO_PROXY": "",
        "no_proxy": "",
    }
    assert home.fetch().answer["kind"] == "HubUnreachableError"
