"""What the Helm chart's containers do, really run: the programs, and how a model store gets there.

The programs are run as the manifests say, where the container is the wheel's Triton and this
project's environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from benchmarks.launch import HOST, Program, free_ports, wait_until
from deploy import model_store
from export.config import encoder_config
from tests.conftest import ROOT, SAMPLES
from tests.kubernetes import Resource, env
from tests.proofs.helm import Render, pods


@pytest.fixture
def bucket(kubernetes_validate: Path) -> Iterator[dict[str, str]]:
    """An S3 on this machine; gives the variables that the Secret of the chart would have."""
    port = free_ports(1)[0]
    server = kubernetes_validate.with_name("moto_server")
    with Program([str(server), f"--host={HOST}", f"--port={port}"]) as running:
        running.wait_for("Running on")
        yield {
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "RCLONE_S3_REGION": "us-east-1",
            "RCLONE_S3_ENDPOINT": f"http://{HOST}:{port}",
            "RCLONE_S3_PROVIDER": "Other",
            "PATH": os.environ["PATH"],
        }


def test_a_store_is_fetched_from_a_bucket_and_from_an_image(
    render: Render, rclone: Path, bucket: dict[str, str], tmp_path: Path
) -> None:
    repository, store = tmp_path / "model_repository", tmp_path / "model_store"
    card = {"target": "cpu", "precision": "fp32", "embed_dim": 1024, "checkpoint": "iic/large"}
    (repository / "encoder" / "1").mkdir(parents=True)
    config = encoder_config({**card, "weights": "pretrained"})
    (repository / "encoder" / "config.pbtxt").write_text(config)
    (repository / "encoder" / "1" / "model.onnx").write_bytes(bytes(1_000_000))
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    # The command of the docs, and where they install from.
    text = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    [upload] = re.findall(r"^```sh\n(export RCLONE_.+?)```", text, re.M | re.S)
    [place] = re.findall(r"helm install .+?models.bucket.url=(\S+)", text, re.S)
    shell = ["bash", "-euc", upload + 'echo "$digest"']
    searched = bucket | {"PATH": f"{rclone.parent}:{bucket['PATH']}"}
    done = subprocess.run(
        shell, cwd=tmp_path, env=searched, check=True, stdout=subprocess.PIPE, text=True
    )
    digest = done.stdout.strip()
    fetch = pods(render("s3", f"--set=models.bucket.url={place}"))["triton"]["initContainers"][0]
    target = fetch["args"][2]
    fetched = str(tmp_path / "fetched")
    words = [fetched if word == target else word for word in fetch["args"]]
    subprocess.run([rclone, *words], env=bucket, check=True)
    assert model_store.check(Path(fetched), digest) == 2
    # The image has the store at /models.
    copied = tmp_path / "copied"
    copied.mkdir()
    copy = pods(render("oci"))["triton"]["initContainers"][0]["command"]
    places = {"/models/.": f"{store}/.", "/store": str(copied)}
    subprocess.run([places.get(word, word) for word in copy], check=True)
    assert model_store.check(copied, digest) == 2


def passes(url: str) -> bool:
    """Whether a probe succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def passes_or_ended(program: Program, url: str) -> bool:
    """Whether a probe succeeds, or never will."""
    return program.process.poll() is not None or passes(url)


READ_ONLY = [
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
    # Over /tmp, and not in its place, because the project may be in it.
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work && "
    "mount -t overlay overlay -o lowerdir=/tmp,upperdir=/mnt/upper,workdir=/mnt/work /tmp && "
    'mount -o remount,bind,ro / && ! touch /written 2>/dev/null && exec "$@"',
    "sh",
]
"""Runs a command with a read-only root file system and a /tmp of its own."""


def probe(container: Resource, name: str, port: int) -> str:
    """The address of a probe."""
    return f"http://{HOST}:{port}{container[name]['httpGet']['path']}"


def test_the_programs_run_as_the_manifests_say(
    render: Render, tiny_repository: Path, tmp_path: Path
) -> None:
    """With a root file system that is read-only, as the containers have it."""
    store = tmp_path / "store"
    made = [sys.executable, "deploy/model_store.py", "make", str(tiny_repository), str(store)]
    made += ["--any-weights"]
    digest = subprocess.run(made, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = pods(render("cpu", f"--set=models.digest={digest.strip()}", "--set=logFormat=text"))
    [check] = found["triton"]["initContainers"]
    [server], [gateway] = (found[name]["containers"] for name in ("triton", "gateway"))
    places = {
        "python3": sys.executable,
        "model_store.py": "deploy/model_store.py",
        "/models": str(store),
        "--model-repository=/models": f"--model-repository={store}",
    }

    def command(words: list[str]) -> list[str]:
        return [*READ_ONLY, *(places.get(word, word) for word in words)]

    subprocess.run(command(check["command"]), cwd=ROOT, check=True)
    http, grpc, metrics, rest = free_ports(4)
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    served = [*server["args"], *ports, f"--host={HOST}"]
    own = {"E2V_TRITON_URL": f"{HOST}:{grpc}", "E2V_PORT": str(rest), "E2V_OUTPUTS": "/tmp/outputs"}
    with (
        Program(command(served), environment=env(server)) as running,
        Program(
            command(["python3", "-m", "gateway"]),
            environment=env(gateway) | own | {"E2V_HOST": HOST},
        ) as front,
    ):
        for container, program, port in ((server, running, http), (gateway, front, rest)):
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                address = probe(container, name, port)
                wait_until(partial(passes_or_ended, program, address), address)
                assert passes(address), program.said
        with (SAMPLES / "happy.wav").open("rb") as audio:
            answer = httpx.post(
                f"http://{HOST}:{rest}/api/predict/", files={"audio": audio}, timeout=120
            )
        assert answer.status_code == 200, answer.text
        counters = httpx.get(f"http://{HOST}:{metrics}/metrics").text
        for name in ("queue", "compute_infer"):
            assert f'nv_inference_{name}_duration_us{{model="encoder",version="1"}}' in counters
        assert front.end() == 0
        assert running.end() == 0
