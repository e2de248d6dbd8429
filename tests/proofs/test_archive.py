"""An archive on a Ray cluster while its parts are killed, from and to S3, and how fast it is.

Ray, and a server that speaks S3, run in an environment of their own, which pip fills from the
network. ``RAY_PYTHON`` names the interpreter of one that has them already.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import fs, parquet

from benchmarks.launch import HOST, Program, free_ports, wait_until
from benchmarks.service import TRITON, Service
from benchmarks.tables import table
from emotion2vec_client import LABELS, Client
from emotion2vec_client._audio import wav_bytes
from tests.conftest import ROOT, speech_like

COUNT = int(os.environ.get("COUNT", "20000"))
RATE_COUNT, S3_COUNT = COUNT // 5, COUNT // 50
ROUNDS = 2
BAD = 3
RATE, SAMPLES = 16_000, 4_800
"""A clip has 0.3 s."""

PACKAGES = (f"{ROOT / 'client'}[ray]", "ray[data]==2.60.0", "moto[server]", "s3fs")
TOLERANCE = 1e-5
SCORES = [label.name for label in LABELS]

# Three nodes of one machine. SIGUSR1 removes one of them, as if its power failed.
CLUSTER = """
import os, signal
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
signals = (signal.SIGUSR1, signal.SIGTERM)
from ray.cluster_utils import Cluster
node = {"num_cpus": 2, "object_store_memory": 200_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
nodes = [cluster.add_node(**node) for _ in range(2)]
cluster.wait_for_nodes()
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready at", cluster.address, flush=True)
if signal.sigwait(signals) == signal.SIGUSR1:
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("removed a node", flush=True)
    signal.sigwait([signal.SIGTERM])
cluster.shutdown()
"""


# s3fs writes the first object, but cannot list it.
CREATE = """
import fsspec
from emotion2vec_client.archive.stores import Store
fsspec.filesystem("s3").pipe_file("calls/in//lost.wav", b"")
store = Store.of("s3://calls/once")
print(store.create("a", b"first"), store.create("a", b"second"), store.read("a"))
"""


@dataclass(frozen=True)
class Archive:
    """The recordings.

    Attributes:
        folder: Has one file per clip, and a few that are no audio.
        clips: The files with audio.
    """

    folder: Path
    clips: list[Path]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the client, Ray and the S3 server."""
    if "RAY_PYTHON" in os.environ:
        return Path(os.environ["RAY_PYTHON"])
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    found = environment / "bin" / "python"
    subprocess.run([found, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(COUNT - BAD):
        sound = speech_like(SAMPLES, number)
        (folder / f"{number:06}.wav").write_bytes(wav_bytes(sound, RATE))
    clips = sorted(folder.iterdir())
    for number in range(BAD):
        (folder / f"bad-{number}.wav").write_text("no audio")
    return Archive(folder, clips)


@pytest.fixture(scope="module")
def service(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(repository) as running:
        running.wait_until_ready()
        yield running


def command(python: Path, source: str, out: str, *options: str, **more: str) -> Program:
    run = [str(python), "-m", "emotion2vec_client", "archive", source, "-o", out, *options]
    return Program(run, environment={"RAY_DEDUP_LOGS": "0", **more})


def parts(folder: Path) -> int:
    return len(list(folder.glob("part-*.parquet")))


def check(found: list[dict[str, Any]], expected: list[str], bad: int = BAD) -> None:
    """Each input has one row, and only what is no audio has an error."""
    names = [row["file"] for row in found]
    assert len(names) == len(set(names)), "a row is there twice"
    assert sorted(names) == sorted(expected), "a row is lost"
    failed = [row["file"] for row in found if row["error"]]
    assert len(failed) == bad and all("bad-" in name for name in failed), failed


def test_nothing_is_lost_or_twice_while_a_node_triton_and_the_driver_die(
    python: Path, archive: Archive, service: Service, tmp_path: Path, show: Callable[[str], None]
) -> None:
    out = tmp_path / "out"
    size = max(5, COUNT // 200)
    total = -(-COUNT // size)
    told: list[tuple[str, str]] = []

    with Program([str(python), "-c", CLUSTER]) as cluster:
        address = cluster.wait_for("ready at").text.split()[-1]
        options: tuple[str, ...] = ("--address", address, "--url", service.grpc_url)
        options += (f"--part-size={size}",)
        began = time.monotonic()

        def reach(share: float) -> None:
            # The folder of the results is there once its plan is.
            wanted = int(share * total)
            wait_until(
                lambda: parts(out) >= wanted or driver.process.poll() is not None,
                f"{wanted} parts are written",
            )
            assert driver.process.poll() is None, driver.said

        def tell(what: str) -> None:
            told.append((what, f"{parts(out):,} of {total:,} parts"))

        with command(python, str(archive.folder), str(out), *options) as driver:
            reach(0.15)
            tell("a node of the cluster removed")
            cluster.send(signal.SIGUSR1)
            cluster.wait_for("removed a node")
            reach(0.35)
            tell("Triton killed")
            service.part(TRITON).kill()
            service.wait_for("Triton is running again")
            reach(0.55)
            tell("the driver killed")
            driver.process.kill()
            driver.wait()
        assert parts(out) < total
        # As a job of the cluster finds it.
        options = ("--ray", *options[2:])
        joined = {"RAY_ADDRESS": address}
        with command(python, str(archive.folder), str(out), *options, **joined) as driver:
            assert driver.wait() == 0, driver.said
        seconds = time.monotonic() - began
    assert f"{BAD} files failed" in driver.said, driver.said
    found = parquet.read_table(out).to_pylist()
    check(found, [str(path) for path in archive.folder.iterdir()])
    compared = differences(service, archive.clips[:: max(1, COUNT // 1000)], found)
    told.append(("the end", f"{parts(out):,} of {total:,} parts"))
    show(table(("event", "written before"), told) + "\n")
    show(
        f"{COUNT:,} files, {seconds:.0f} s: {len(found):,} rows, 0 lost, 0 twice; "
        f"largest difference from predict {compared:.1g}"
    )
    assert compared <= TOLERANCE


def differences(service: Service, clips: list[Path], found: list[dict[str, Any]]) -> float:
    """The largest difference of a score from that of `predict_many`."""
    by_name = {row["file"]: row for row in found}
    most = 0.0
    with Client(service.grpc_url) as client:
        for outcome in client.predict_many(clips):
            scores = outcome.unwrap().scores
            row = by_name[str(outcome.item)]
            most = max(most, *(abs(row[name] - scores[name]) for name in SCORES))
    return most


def test_the_rate_is_that_of_predict_many(
    python: Path, archive: Archive, service: Service, tmp_path: Path, show: Callable[[str], None]
) -> None:
    clips = archive.clips[:RATE_COUNT]
    source = tmp_path / "clips.csv"
    source.write_text("\n".join(["path", *map(str, clips)]), "utf-8")
    seconds: dict[str, list[float]] = {"predict_many": [], "archive": [], "archive --ray": []}
    with Client(service.grpc_url) as client:
        # A machine's speed drifts; taking turns spreads the drift.
        for turn in range(ROUNDS):
            began = time.monotonic()
            for outcome in client.predict_many(clips):
                outcome.unwrap()
            seconds["predict_many"].append(time.monotonic() - began)
            for name, options in (("archive", ()), ("archive --ray", ("--ray",))):
                out = tmp_path / f"{name} {turn}"
                size = f"--part-size={max(50, RATE_COUNT // 8)}"
                url = ("--url", service.grpc_url, size, *options)
                with command(python, str(source), str(out), *url) as done:
                    assert done.wait() == 0, done.said
                # From the first answer to the last: Ray takes long to start.
                when = np.array(parquet.read_table(out)["timestamp"]).astype("datetime64[ms]")
                seconds[name].append(float((when.max() - when.min()) / np.timedelta64(1, "s")))
    rates = {name: ROUNDS * len(clips) / sum(each) for name, each in seconds.items()}
    lines = [
        (name, f"{rate:.1f}", f"{rate / rates['predict_many']:.2f}") for name, rate in rates.items()
    ]
    show(table(("", "files/s", "of predict_many"), lines) + "\n")
    show(f"{ROUNDS} rounds of {len(clips):,} files of 0.3 s, one after the other")


def test_from_and_to_s3(
    python: Path, archive: Archive, service: Service, tmp_path: Path, show: Callable[[str], None]
) -> None:
    [port] = free_ports(1)
    endpoint = f"http://{HOST}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "secret"}
    own = {**keys, "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    moto = [str(python), "-m", "moto.server", "--host", HOST, "--port", str(port)]
    clips = archive.clips[:S3_COUNT]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for clip in clips[: S3_COUNT // 2]:
            tar.add(clip, clip.name)
    with Program(moto) as server:
        server.wait_for("Running on")
        store = fs.S3FileSystem(
            access_key="user", secret_key="secret", endpoint_override=endpoint, scheme="http",
            region="us-east-1", allow_bucket_creation=True,
        )  # fmt: skip
        store.create_dir("calls")
        objects = {f"in/{clip.name}": clip.read_bytes() for clip in clips[S3_COUNT // 2 :]}
        objects |= {"in/shard.tar": packed.getvalue(), "in/bad-0.wav": b"no audio"}
        # S3 refuses to read a range of an empty object.
        objects |= {"in/bad-1.wav": b""}
        for name, data in objects.items():
            with store.open_output_stream(f"calls/{name}") as stream:
                stream.write(data)

        def parts_there() -> list[str]:
            entries = store.get_file_info(fs.FileSelector("calls/out", allow_not_found=True))
            return [entry.path for entry in entries if entry.path.endswith(".parquet")]

        with Program([str(python), "-c", CREATE], environment=own) as created:
            assert created.wait() == 0, created.said
        assert "True False b'first'" in created.said
        size = max(2, S3_COUNT // 20)
        total = -(-(S3_COUNT + 2) // size)
        options = ("--url", service.grpc_url, f"--part-size={size}")
        with command(python, "s3://calls/in", "s3://calls/out", *options, **own) as first:
            wait_until(
                lambda: len(parts_there()) >= total // 4 or first.process.poll() is not None,
                "a quarter of the parts is in S3",
            )
            first.process.kill()
            first.wait()
        assert "skipped everything under s3://calls/in//" in first.said
        before = len(parts_there())
        assert before < total
        ray = (*options, "--ray")
        with command(python, "s3://calls/in", "s3://calls/out", *ray, **own) as second:
            assert second.wait() == 0, second.said
        found = [row for path in parts_there() for row in read(store, path)]
        with store.open_input_stream("calls/out/_archive/manifest.json") as stream:
            summary = json.loads(stream.read())
    names = [f"s3://calls/in/{clip.name}" for clip in clips[S3_COUNT // 2 :]]
    names += [f"s3://calls/in/shard.tar/{clip.name}" for clip in clips[: S3_COUNT // 2]]
    check(found, [*names, "s3://calls/in/bad-0.wav", "s3://calls/in/bad-1.wav"], bad=2)
    assert (summary["rows"], summary["failed"]) == (S3_COUNT + 2, 2)
    show(
        f"{len(found):,} rows of objects and a shard in S3, killed after {before} of {total} parts "
        "on one machine and continued with Ray: 0 lost, 0 twice"
    )


def read(store: Any, path: str) -> list[dict[str, Any]]:
    with store.open_input_file(path) as file:
        found: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
        return found
