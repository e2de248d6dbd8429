"""Nothing phones home: records the traffic of an export, the service, the page and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.launch import PATIENCE
from tests.conftest import ROOT, SAMPLES

PYTHON = sys.executable
CACHES = (".cache/pip", ".cache/huggingface", ".cache/modelscope", ".modelscope")
"""Caches of pip and of the hubs' libraries."""

NAMED = "import socket; socket.getaddrinfo('collector.example.org', 443)"
CONNECTED = "import socket; socket.create_connection(('192.0.2.7', 443), 5)"


def watched(folder: Path, commands: Sequence[str], **environment: str) -> dict[str, list[str]]:
    """The look-ups and packets of the commands, which run with a home folder of their own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir()
    temporary.mkdir()
    own = {"HOME": str(home), "TMPDIR": str(temporary), **environment}
    unset = ("XDG_CACHE_HOME", "HF_HOME", "MODELSCOPE_CACHE", "MODELSCOPE_HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        ["unshare", *user, "--net", "--mount", PYTHON, "-m", "tests.integration.quiet",
         str(folder / "report.json"), *commands],
        cwd=ROOT, env={**inherited, **own}, capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, list[str]] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.parametrize(
    ("code", "report"),
    [
        (NAMED, {"asked": ["collector.example.org"], "sent": []}),
        (CONNECTED, {"asked": [], "sent": ["192.0.2.7"]}),
    ],
)
def test_the_watch_sees_a_look_up_and_a_connection(
    tmp_path: Path, code: str, report: dict[str, list[str]]
) -> None:
    found = watched(tmp_path, [f'{PYTHON} -c "{code}" || true'])
    assert {name: sorted(set(values)) for name, values in found.items()} == report


def test_nothing_is_asked_of_any_other_machine_and_nothing_written_elsewhere(
    tiny_checkpoint: Path,
    empty_repository: Callable[[], Path],
    one_clip: Path,
    tmp_path: Path,
) -> None:
    repository, outputs = empty_repository(), tmp_path / "outputs"
    client = f"{PYTHON} -m emotion2vec_client"
    happy = SAMPLES / "happy.wav"
    visit = (
        "import urllib.request as u; "
        "print([len(u.urlopen('http://127.0.0.1:7860' + path).read()) "
        "for path in ('/en', '/zh', '/docs', '/metrics')])"
    )
    while_ready = (
        f"{client} info && {client} predict {happy} --format table && "
        f"{client} timeline {SAMPLES / 'story.ogg'} && "
        f"curl -sf -F audio=@{happy} http://127.0.0.1:7860/api/predict/ && "
        f'{PYTHON} -c "{visit}"; code=$?; kill -TERM $PPID; exit $code'
    )
    script = tmp_path / "visit.sh"
    # The gateway may become ready after Triton.
    script.write_text(
        f"timeout {PATIENCE:.0f} sh -c"
        " 'until curl -sf http://127.0.0.1:7860/ready; do sleep 0.1; done'\n" + while_ready
    )
    report = watched(
        tmp_path,
        [
            f"{PYTHON} -m export --checkpoint {tiny_checkpoint} --precision fp32"
            f" --model-repository {repository} --verify-with {one_clip}",
            f"{PYTHON} -m server --gateway --model-repository {repository}"
            f" --on-ready 'sh {script}' > {tmp_path}/log 2>&1",
        ],
        E2V_OUTPUTS=str(outputs),
    )
    log = (tmp_path / "log").read_text()
    assert '"emotion":' in log, log
    assert report == {"asked": [], "sent": []}
    home = tmp_path / "home"
    written = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    assert not [path for path in written if not path.startswith(CACHES)]
    left = [path.name for path in (tmp_path / "tmp").iterdir()]
    # PyTorch makes one such folder per user.
    assert not [name for name in left if not name.startswith("torchinductor_")]
