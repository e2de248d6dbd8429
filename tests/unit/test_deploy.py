"""The container has the packages that its models import, in the versions tested here."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.contract.test_contract import imported

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def test_the_image_has_every_package_that_models_import_and_its_version_is_pinned() -> None:
    files = [*(ROOT / "model_repository").glob("*/1/*.py"), *(ROOT / "audio").glob("*.py")]
    own = {"audio", "triton_python_backend_utils"}
    imports = {name.split(".")[0] for path in files for name in imported(path)}
    needed = {name.replace("_", "-") for name in imports - own - set(sys.stdlib_module_names)}
    [line] = re.findall(r"pip install -c /tmp/constraints.txt (.+)", DOCKERFILE)
    assert set(line.split()) == needed
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert needed <= set(pinned)


def test_the_service_runs_as_no_root_and_listens_to_this_machine_only() -> None:
    served = DOCKERFILE.split("AS serve")[1]
    assert re.search(r"^USER [1-9]", served, re.M)
    assert "HEALTHCHECK" in served
    compose = yaml.safe_load(Path(ROOT, "deploy", "compose.yaml").read_text("utf-8"))
    service = compose["services"]["triton"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "shm_size" in service
