"""A new user's first hour with the published checkpoint, from a hub on the loopback interface.

``make run`` in a fresh clone: packages, download, export, verification, service, first prediction.
One test runs it undisturbed; one kills it ten times. The checkpoint is the full-size replica.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.launch import Program, below, free_ports, wait_until_gone
from emotion2vec_client import Client
from export import replica
from export.published import LARGE
from export.verify import TOLERANCES
from tests.conftest import ROOT, SAMPLES
from tests.hubs import LoopbackHub

KILLS = 10
FIRST_FILE = SAMPLES / "happy.wav"
MOMENTS = (
    "installing the packages to run",
    "installing the packages to export",
    "loading PyTorch",
    "asking ModelScope",
    "fetching what is missing",
    "computing the SHA-256",
    "reading model.pt",
    "writing the ONNX graph",
    "comparing with FunASR",
    "installed into",
    "starting Triton",
    "server: ready",
)
"""Texts that ``make run`` prints in this order."""
PREDICTED = "中立 neutral"
"""Text in the table of the first prediction."""

AUTOMODEL = """
import json, sys
from funasr import AutoModel
model = AutoModel(model=sys.argv[1], disable_update=True, disable_pbar=True)
[answer] = model.generate(sys.argv[2], granularity="utterance", extract_embedding=True)
print("ANSWER", json.dumps([answer["scores"], answer["feats"].tolist()]))
"""


class Run(Program):
    """``make run`` in a clone, on free ports."""

    def __init__(self, clone: Path, environment: dict[str, str]) -> None:
        self.grpc, http, metrics, rest = free_ports(4)
        ports = f"--grpc-port {self.grpc} --http-port {http} --metrics-port {metrics}"
        own = environment | {"E2V_PORT": str(rest)}
        super().__init__(["make", "run", f"ARGS={ports}"], cwd=clone, environment=own)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to make and all its descendants."""
        self.started = below(self.pid)
        os.killpg(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends make and all its descendants."""
        code = super().end(number)
        wait_until_gone(self.started)
        return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("published")
    replica.write_replica(target, replica.SIZES["large"])
    return target


@pytest.fixture(scope="module")
def expected(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores and embedding of FunASR's ``AutoModel`` on the folder."""
    arguments = [sys.executable, "-c", AUTOMODEL, str(folder), str(FIRST_FILE)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    answer = re.search("^ANSWER (.*)$", done.stdout, re.M)
    assert answer, done.stdout
    scores, embedding = json.loads(answer[1])
    return np.array(scores), np.array(embedding)


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[LoopbackHub]:
    served = {name: {LARGE.revisions[key]: folder} for key, name in LARGE.names.items()}
    with LoopbackHub(served) as running:
        yield running


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    return tmp_path / "clone"


@pytest.fixture
def environment(hub: LoopbackHub, tmp_path: Path) -> dict[str, str]:
    names = ("HF_HOME", "MODELSCOPE_CACHE", "MODELSCOPE_HOME")
    return {**hub.environment, **{name: str(tmp_path / name.lower()) for name in names}}


def check(run: Run, expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Checks that the service answers as FunASR does, within the precision's tolerance."""
    with Client(f"127.0.0.1:{run.grpc}") as client:
        info = client.model_info()
        answer = client.predict(FIRST_FILE, embedding=True)
    assert info.checkpoint in LARGE.names.values()
    assert info.published is False, "a replica is not the published file"
    assert answer.embedding is not None
    scores = np.array(list(answer.scores.values()))
    tolerance = TOLERANCES[info.precision]
    error = np.linalg.norm(answer.embedding - expected[1]) / np.linalg.norm(expected[1])
    print(
        f"in {info.precision}: scores off by {np.abs(scores - expected[0]).max():.1e}, "
        f"embedding by {error:.1e}"
    )
    assert scores == pytest.approx(expected[0], abs=tolerance.scores)
    assert error < tolerance.embedding


def test_make_run_serves_what_the_hub_has_and_says_what_it_does(
    clone: Path,
    environment: dict[str, str],
    hub: LoopbackHub,
    expected: tuple,
    show: Callable[[str], None],
) -> None:
    with Run(clone, environment) as run:
        ready = run.wait_for(PREDICTED)
        assert "RANDOM" not in run.said
        check(run, expected)
    show(f"make run, first: ready after {ready.when - run.began:.0f} s")
    # Only the export counts, from its first import to its end.
    first, last = run.line("loading PyTorch"), run.line("installed into")
    times = [line.when for line in run.lines if first.when <= line.when <= last.when]
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    show(f"longest silence of the export: {longest:.1f} s")

    hub.requests.clear()
    with Run(clone, environment) as again:
        ready = again.wait_for(PREDICTED)
        show(f"make run, second: ready after {ready.when - again.began:.1f} s")
        check(again, expected)
        assert not hub.requests, "something is downloaded again"
        assert "export:" not in again.said, "something is exported again"


def test_make_run_gets_there_however_often_it_is_killed(
    clone: Path, environment: dict[str, str], expected: tuple
) -> None:
    seed = int(os.environ.get("SEED", secrets.randbits(32)))
    print(f"SEED={seed}")
    draw = random.Random(seed)
    for kill in range(KILLS):
        moment, delay = draw.choice(MOMENTS), draw.uniform(0, 4)
        run = Run(clone, environment)
        run.start()
        # An earlier run may have finished this step: then it is killed while it serves.
        run.wait_for(moment, "server: ready")
        time.sleep(delay)
        run.end(signal.SIGKILL)
        print(f"kill {kill + 1}: {delay:.1f} s after {moment!r}")
    with Run(clone, environment) as run:
        run.wait_for(PREDICTED)
        check(run, expected)
