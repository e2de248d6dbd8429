"""What the Helm chart renders and refuses, with Helm itself.

A test renders the chart with one of its files of values, or with more options. test_helm_pods.py,
test_helm_network.py and test_helm_monitoring.py test what the resources say; test_helm_runs.py
runs it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes import CHART, VALUES, complaints, has_definition
from tests.proofs.helm import NAMESPACE, RELEASE, Render, every_way, of_kind

VERSIONS = ("1.30", "1.37")
"""The oldest Kubernetes of Chart.yaml, and the newest whose schemas there are."""


@every_way
def test_helm_finds_no_fault(helm: Path, file: str) -> None:
    values = f"--values={CHART / 'ci' / file}.yaml"
    done = subprocess.run(
        [helm, "lint", "--strict", CHART, values], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


@every_way
def test_kubernetes_and_the_operators_know_every_field(
    render: Render, kubernetes_validate: Path, file: str, tmp_path: Path
) -> None:
    resources = render(file)
    custom = [each for each in resources if has_definition(each)]
    for resource in custom:
        assert complaints(resource) == []
    rest = tmp_path / "rest.yaml"
    rest.write_text(yaml.safe_dump_all(each for each in resources if each not in custom))
    for version in VERSIONS:
        command: list[str | Path] = [
            kubernetes_validate,
            "--strict",
            "--no-warn",
            "-k",
            version,
            rest,
        ]
        done = subprocess.run([*command, rest], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_option_gives_its_resources(render: Render) -> None:
    usual = {"Deployment": 2, "Service": 2, "PodDisruptionBudget": 2, "NetworkPolicy": 2}
    more = {
        "tls-keys": {"Ingress": 1},
        "keda": {"ScaledObject": 1, "ServiceMonitor": 1, "PrometheusRule": 1, "ConfigMap": 1},
        "hpa": {"HorizontalPodAutoscaler": 1},
        "monitoring": {"ServiceMonitor": 1, "PrometheusRule": 1, "ConfigMap": 1},
    }
    for file in VALUES:
        kinds = [each["kind"] for each in render(file.stem)]
        expected = usual | more.get(file.stem, {})
        assert {kind: kinds.count(kind) for kind in kinds} == expected, file.stem


@pytest.mark.parametrize("release", ["true", "null", "no"])
def test_labels_are_strings(render: Render, release: str) -> None:
    """Also those of a release whose name YAML takes for something else."""

    def labels(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            for each in value:
                yield from labels(each)
        elif isinstance(value, dict):
            for key, each in value.items():
                if key in ("labels", "matchLabels"):
                    yield from each.values()
                yield from labels(each)

    for file in ("monitoring", "gpu"):
        found = [*labels(render(file, release=release))]
        assert release in found
        assert {type(each) for each in found} == {str}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["gateway.setings.timeout=3"], "additional properties 'setings' not allowed"),
        (["gateway.settings.timout=3"], "additional properties 'timout' not allowed"),
        (["models.digest=latest"], "at '/models/digest'"),
        (["models.claim="], "from one place, and 0 are named"),
        (["models.image=store"], "from one place, and 2 are named"),
        (["ingress.host=e.example.org", "ingress.tlsSecret=tls"], "set gateway.keysSecret"),
        (["ingress.host=e.example.org", "gateway.keysSecret=keys"], "set ingress.tlsSecret"),
        (["autoscaling.min=5"], "autoscaling.min is 5 and autoscaling.max is 4"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    render: Render, options: list[str], reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        render("cpu", *(f"--set={option}" for option in options))


@pytest.mark.parametrize("file", ["cpu", "tls-keys"])
def test_the_notes_name_what_is_there(helm: Path, render: Render, file: str) -> None:
    command: list[str | Path] = [
        helm,
        "install",
        RELEASE,
        CHART,
        "--dry-run=client",
        f"--namespace={NAMESPACE}",
    ]
    values = f"--values={CHART / 'ci' / file}.yaml"
    done = subprocess.run([*command, values], capture_output=True, text=True, check=True)
    notes = done.stdout.partition("NOTES:")[2]
    named = re.findall(rf"(deployment|service)/{RELEASE}-(\S+)", notes)
    assert ("deployment", "gateway") in named
    resources = render(file)
    # They wait as long as Kubernetes does.
    [waits] = re.findall(r"--timeout (\d+)s ", notes)
    for deployment in of_kind(resources, "Deployment").values():
        assert deployment["spec"]["progressDeadlineSeconds"] == int(waits)
    for kind, name in named:
        assert name in of_kind(resources, kind.capitalize())
    keys = file == "tls-keys"
    assert ("X-API-Key" in notes, "Every pod" in notes) == (keys, not keys)
