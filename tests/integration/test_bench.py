"""Short runs of the benchmarks on the tiny model: they test that it works, not how fast it is."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient

from benchmarks.launch import PATIENCE, Program, wait_until
from server.triton import Triton
from tests.conftest import ROOT, free_ports

PLOTS = {"latency.png", "percentiles.png", "throughput.png", "batches.png"}
ENDLESS, NONE = "1000", "1e-9"
"""A target that every server meets, and one that none meets."""


def bench(*arguments: str, results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--stretch=0.001"]
    return subprocess.run(
        [*command, f"--results={results}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark that started the service itself."""
    results = tmp_path_factory.mktemp("results")
    done = bench(
        f"--model-repository={tiny_repository}", f"--target-p95={ENDLESS}", results=results
    )
    assert done.returncode == 0, done.stderr
    [folder] = results.iterdir()
    assert str(folder / "report.md") in done.stdout
    return folder


def test_a_report_has_all_its_parts(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "**Target met**" in text
    for heading in ("Loads", "Errors", "Memory", "Machine"):
        assert f"## {heading}" in text
    for headline in ("cold start until REST answers", "over the bare encoder", "p99 over p50"):
        assert headline in text
    assert "stub of encoder" in text
    assert "pretrained weights" in text
    assert "ready on gRPC" in (report / "log").read_text(encoding="utf-8")
    for name in PLOTS:
        assert f"({name})" in text
        assert (report / name).read_bytes().startswith(b"\x89PNG")


def test_every_load_is_answered_over_both_protocols(report: Path) -> None:
    loads = {row["load"]: row for row in read(report / "loads.csv")}
    assert {"alone, gRPC", "alone, REST", "1 client", "4 clients", "8 clients"} < set(loads)
    assert [row["errors"] for row in loads.values()] == ["0"] * len(loads)
    requests = read(report / "requests.csv")
    assert {row["protocol"] for row in requests} == {"gRPC", "REST"}
    assert {row["format"] for row in requests} == {"wav", "mp3", "m4a", "flac", "ogg", "opus"}
    assert {row["clip_s"] for row in requests if row["load"] == "8 clients"} >= {"1", "10", "30"}
    for row in loads.values():
        # Triton counts a batch after it has answered: on a busy machine maybe in the next load.
        assert float(row["encoder_busy"]) > 0
        assert float(row["encoder_compute_s"]) > 0


def test_users_do_not_wait_for_each_other(report: Path) -> None:
    """Without its gevent support, one gRPC call would block all of Locust's users."""
    begins_and_ends = sorted(
        event
        for row in read(report / "requests.csv")
        if row["load"] == "8 clients"
        for due, latency in [(float(row["due_s"]), float(row["latency_s"]))]
        for event in ((due, 1), (due + latency, -1))
    )
    flying = most = 0
    for _, change in begins_and_ends:
        flying += change
        most = max(most, flying)
    assert most > 4


def test_a_broken_target_fails_a_run_against_any_server(triton: Triton, tmp_path: Path) -> None:
    done = bench(
        f"--url=127.0.0.1:{triton.settings.grpc_port}", f"--target-p95={NONE}", results=tmp_path
    )
    assert done.returncode == 1
    assert "4 clients, short, gRPC: p95 is" in done.stderr
    [folder] = tmp_path.iterdir()
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "**Target missed**" in text
    assert "because the service was not started by the benchmark" in text
    assert {row["protocol"] for row in read(folder / "requests.csv")} == {"gRPC"}


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = bench(f"--url=127.0.0.1:{free_ports(1)[0]}", results=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("bench: the server at grpc://127.0.0.1:")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arrivals", ["0", "5"])
def test_the_users_run_in_locust_alone(triton: Triton, url: str, arrivals: str) -> None:
    command = [sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", "GrpcUser"]
    options = ["--headless", "--users=2", "--longest=3", "--stop-timeout=30", "--json"]
    with (
        InferenceServerClient(url) as raw,
        Program([*command, *options, f"--host={url}", f"--arrivals={arrivals}"]) as users,
    ):

        def answered() -> int:
            [stats] = raw.get_inference_statistics("emotion2vec").model_stats
            return stats.inference_stats.success.count

        before = answered()
        # Wait for two rounds of all lengths.
        wait_until(lambda: answered() >= before + 6, "the users send clips")
        assert users.end(signal.SIGINT) == 0
    assert '"name": " 3 s"' in users.said
    assert '"name": " 5 s"' not in users.said


def test_an_open_loop_counts_from_when_a_clip_was_due() -> None:
    """A queue forms if 100 clips a second arrive at a server that needs 50 ms for each.

    This server blocks the whole process meanwhile, so clips are sent late. Counted from when it was
    sent, each answer would take 50 ms, and the queue would stay hidden.
    """
    program = """
import json, random, time
from gevent import monkey
import locust
from benchmarks import loads
from benchmarks.corpus import Clip
from benchmarks.loads import Load

wait = monkey.get_original("time", "sleep")

class User(loads.GrpcUser):
    connect = disconnect = lambda self: None
    ask = lambda self, clip: wait(0.05)

class Statistics:
    read = staticmethod(dict)

random.seed(1)
loads.USERS["gRPC"] = User
loads.settle = lambda host, clip: None
clips = [Clip(seconds, "wav", b"") for seconds in range(40)]
load = Load("", "gRPC", 0, clips, arrivals=100)
measured = loads.run(load, {"gRPC": ""}, Statistics(), lambda *_: None)
print(json.dumps([(each.due, each.latency) for each in measured.requests]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    times = json.loads(done.stdout)
    assert len(times) == 40
    # Forty clips take 2 s, and the last one was due after about 0.4 s.
    assert max(latency for _, latency in times) > 1.0
