"""The container has the packages that its models import, in the versions tested here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import yaml

from gateway.page import EXAMPLES
from tests.conftest import ROOT
from tests.contract.test_contract import imported

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def stage(name: str) -> str:
    """The lines of a stage of the Dockerfile."""
    [_, after] = DOCKERFILE.split(f" AS {name}\n")
    return re.split(r"^FROM ", after, maxsplit=1, flags=re.M)[0]


def served_packages() -> list[str]:
    """The packages that the service's image installs."""
    [line] = re.findall(r"pip install --target packages .+\n +(.+)", DOCKERFILE)
    return line.split()


def test_the_image_has_every_package_that_models_import_and_its_version_is_pinned() -> None:
    files = [*(ROOT / "model_repository").glob("*/1/*.py"), *(ROOT / "audio").glob("*.py")]
    own = {"audio", "triton_python_backend_utils"}
    imports = {name.split(".")[0] for path in files for name in imported(path)}
    theirs = imports - own - set(sys.stdlib_module_names)
    needed = {name.replace("_", "-") for name in theirs}
    assert set(served_packages()) == needed
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert needed <= {name.replace("_", "-") for name in pinned}


def test_the_export_gets_the_onnx_runtime_that_serves() -> None:
    """The image finds the version in Triton's backend as it is found here in the wheel."""
    script = ROOT / "deploy" / "onnxruntime_version.py"
    assert f"COPY constraints.txt pyproject.toml deploy/{script.name}" in DOCKERFILE
    folder = Path(onnxruntime.__file__).parent / "capi"
    told = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == onnxruntime.__version__


def test_the_service_runs_as_no_root_and_listens_to_this_machine_only() -> None:
    for name in ("serve", "gateway"):
        assert re.search(r"^USER [1-9]", stage(name), re.M)
        assert "HEALTHCHECK" in stage(name)
    compose = yaml.safe_load(Path(ROOT, "deploy", "compose.yaml").read_text("utf-8"))
    service = compose["services"]["triton"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "shm_size" in service


def test_the_gateway_has_an_image_of_its_own_with_all_that_it_imports() -> None:
    gateway = stage("gateway")
    assert "pip install -c constraints.txt --group gateway ./client" in gateway
    copied = set(re.findall(r"^COPY (\S+) \1$", gateway, re.M))
    own = {path.name for path in ROOT.iterdir() if path.is_dir()}
    imports = {
        name.split(".")[0]
        for folder in ("gateway", *(copied & {"audio", "server"}))
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
    }
    assert imports & own <= copied
    # What the page offers to try.
    assert EXAMPLES.relative_to(ROOT).as_posix() in copied
