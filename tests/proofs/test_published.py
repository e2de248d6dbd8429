"""A new user's first hour with the published checkpoint, from a hub on the loopback interface.

``make run`` in a fresh clone: packages, download, export, verification, service, first prediction.
Once undisturbed, and once killed ten times on the way. The checkpoint is the replica in full size.
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
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import descendants, free_ports
from emotion2vec_client import Client
from export import replica
from export.published import LARGE
from export.verify import TOLERANCES
from tests.conftest import ROOT, SAMPLES
from tests.hubs import LoopbackHub

KILLS = 10
HANGS = 900
SILENT_SECONDS = 5.0
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
"""What ``make run`` says on its way."""
PREDICTED = "中立 neutral"
"""In the table of the first prediction."""

AUTOMODEL = """
import json, sys
from funasr import AutoModel
model = AutoModel(model=sys.argv[1], disable_update=True, disable_pbar=True)
[answer] = model.generate(sys.argv[2], granularity="utterance", extract_embedding=True)
print("ANSWER", json.dumps([answer["scores"], answer["feats"].tolist()]))
"""


class Run:
    """``make run`` in a clone, on free ports, with all that it says and when."""

    def __init__(self, clone: Path, environment: dict[str, str]) -> None:
        self.grpc, http, metrics, rest = free_ports(4)
        ports = f"--grpc-port {self.grpc} --http-port {http} --metrics-port {metrics}"
        self.process = subprocess.Popen(
            ["make", "run", f"ARGS={ports}"],
            cwd=clone,
            env={**os.environ, **environment, "E2V_PORT": str(rest)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.said: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        # Whatever comes is a sign of life: progress bars end no line.
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            with self._changed:
                self.said.append((time.monotonic(), data.decode(errors="replace")))
                self._changed.notify_all()
        with self._changed:
            self.said.append((time.monotonic(), "END"))
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(said for _, said in self.said)

    def wait_for(self, *words: str) -> bool:
        """Whether it has said one of these; not where it has ended first."""

        def said() -> bool:
            return any(each in self.text for each in words)

        with self._changed:
            there = self._changed.wait_for(lambda: said() or self._ended(), HANGS)
        assert there, f"{words} was not said in {HANGS} s:\n{self.text[-3000:]}"
        return said()

    def _ended(self) -> bool:
        return bool(self.said) and self.said[-1][1] == "END"

    def end(self, sign: signal.Signals) -> None:
        """Ends make and all that is below it."""
        below = descendants(self.process.pid)
        os.killpg(self.process.pid, sign)
        self.process.wait(HANGS)
        wait_until(lambda: not [pid for pid in below if alive(pid)], "a process is left")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: object, otherwise: str) -> None:
    limit = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit, otherwise
        time.sleep(0.1)


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
    """The service answers as FunASR does, within what the precision costs."""
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
    clone: Path, environment: dict[str, str], hub: LoopbackHub, expected: tuple
) -> None:
    began = time.monotonic()
    run = Run(clone, environment)
    try:
        assert run.wait_for(PREDICTED), run.text[-3000:]
        assert "RANDOM" not in run.text
        check(run, expected)
    finally:
        run.end(signal.SIGTERM)
    print(f"make run, first: ready after {time.monotonic() - began:.0f} s")
    # From the first import to the end of the export.
    start = next(at for at, said in run.said if "loading PyTorch" in said)
    times = [start, *(at for at, _ in run.said if at > start)]
    end = next(at for at, said in run.said if "installed into" in said)
    gaps = [(b - a, a - start) for a, b in itertools.pairwise(times) if b <= end]
    longest, where = max(gaps)
    print(f"longest silence of the export: {longest:.1f} s, {where:.0f} s after its start")
    assert longest < SILENT_SECONDS, run.text

    hub.requests.clear()
    began = time.monotonic()
    again = Run(clone, environment)
    try:
        assert again.wait_for(PREDICTED), again.text[-3000:]
        print(f"make run, second: ready after {time.monotonic() - began:.1f} s")
        check(again, expected)
        assert not hub.requests, "nothing is downloaded again"
        assert "export:" not in again.text, "nothing is exported again"
    finally:
        again.end(signal.SIGTERM)


def test_make_run_gets_there_however_often_it_is_killed(
    clone: Path, environment: dict[str, str], expected: tuple
) -> None:
    seed = int(os.environ.get("SEED", secrets.randbits(32)))
    print(f"SEED={seed}")
    draw = random.Random(seed)
    for kill in range(KILLS):
        moment, delay = draw.choice(MOMENTS), draw.uniform(0, 4)
        run = Run(clone, environment)
        # Where that is done already, it is killed while it serves.
        assert run.wait_for(moment, "server: ready"), run.text[-3000:]
        time.sleep(delay)
        run.end(signal.SIGKILL)
        print(f"kill {kill + 1}: {delay:.1f} s after {moment!r}")
    run = Run(clone, environment)
    try:
        assert run.wait_for(PREDICTED), run.text[-3000:]
        check(run, expected)
    finally:
        run.end(signal.SIGTERM)
