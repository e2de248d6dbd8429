"""What the Helm chart and the KServe manifests say, as far as it can be checked without Helm."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotated_types import Ge, Gt
from jsonschema_rs import validator_for

from gateway.__main__ import READY_SECONDS as GATEWAY_READY_SECONDS
from gateway.settings import GRACE_SECONDS
from gateway.settings import Settings as GatewaySettings
from server import process, supervisor, triton
from server.settings import CONNECTION_SECONDS, Settings
from tests.conftest import ROOT
from tests.kubernetes import CHART, KSERVE, VALUES, Resource, complaints, env, merged, values

SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
ALLOWED = validator_for(SCHEMA)
TRITON = (CHART / "templates" / "triton.yaml").read_text("utf-8")
GATEWAY = (CHART / "templates" / "gateway.yaml").read_text("utf-8")
MONITORING = (CHART / "templates" / "monitoring.yaml").read_text("utf-8")
HELPERS = (CHART / "templates" / "_helpers.tpl").read_text("utf-8")
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text("utf-8")

FIXED = {"host", "port", "triton_url", "outputs", "log_format", "api_keys"}
"""Settings of the gateway that the chart has its own values for, or none."""

NOT_OFFERED = {"triton_api_key", "policy", "heads"}
"""A key for a proxy that the chart does not have, and files."""


def probe(template: str, name: str) -> Resource:
    """A probe of a template, which has no actions inside."""
    [(indent, body)] = re.findall(rf"^( +){name}:\n((?:\1 +.*\n)+)", template, re.M)
    assert indent
    return dict(yaml.safe_load(body))


def patience(probe: Resource) -> int:
    """Seconds of failures that a probe tolerates."""
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def objects(schema: Resource, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the values have objects with fixed fields."""
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        yield path
        for name, below in schema["properties"].items():
            yield from objects(below, (*path, name))


def nested(path: tuple[str, ...], value: object) -> Resource:
    """{"a": {"b": value}} for a path ("a", "b")."""
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[return-value]


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_the_schema_accepts_the_values(file: Path) -> None:
    ALLOWED.validate(values(file))


@pytest.mark.parametrize("path", [*objects(SCHEMA)], ids=".".join)
def test_the_schema_refuses_unknown_values(path: tuple[str, ...]) -> None:
    good = values(CHART / "ci" / "cpu.yaml")
    assert ALLOWED.is_valid(good)
    assert not ALLOWED.is_valid(merged(good, nested((*path, "misspelt"), 1)))


def test_only_the_registry_and_the_digest_have_no_default() -> None:
    missing = {tuple(error.instance_path) for error in ALLOWED.iter_errors(values())}
    assert missing == {("image", "registry"), ("models", "digest")}


@pytest.mark.parametrize(
    "path", [path for path in objects(SCHEMA) if path[-1:] != ("settings",)], ids=".".join
)
def test_every_value_has_a_default(path: tuple[str, ...]) -> None:
    schema, found = SCHEMA, values()
    for name in path:
        schema, found = schema["properties"][name], found[name]
        if "$ref" in schema:
            schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    # Helm gives `global` to charts that are part of another.
    assert set(found) == set(schema["properties"]) - {"global"}


def test_the_settings_are_those_of_the_gateway() -> None:
    """A new setting of the gateway belongs into values.schema.json, or into a set above."""
    offered = SCHEMA["properties"]["gateway"]["properties"]["settings"]["properties"]
    fields = GatewaySettings.model_fields
    assert set(offered) == set(fields) - FIXED - NOT_OFFERED
    for name, schema in offered.items():
        bounds = {type(each): each for each in fields[name].metadata}
        lowest = bounds[Ge].ge if Ge in bounds else None
        above = bounds[Gt].gt if Gt in bounds else None
        assert (schema.get("minimum"), schema.get("exclusiveMinimum")) == (lowest, above), name
    default = values()["gateway"]["settings"]
    assert default["timeout"] == fields["timeout"].default
    own = set(re.findall(r"E2V_[A-Z_]+", GATEWAY)) - {"E2V_", "E2V_TIMEOUT"}
    assert own == {f"E2V_{name.upper()}" for name in FIXED}


def test_ports_are_those_of_the_programs() -> None:
    ports = {
        name: int(port) for name, port in re.findall(r"name: (\w+), containerPort: (\d+)", TRITON)
    }
    settings = Settings()
    assert ports == {
        "http": settings.http_port,
        "grpc": settings.grpc_port,
        "metrics": settings.metrics_port,
    }
    assert f"svc:{settings.grpc_port}" in GATEWAY
    port = GatewaySettings.model_fields["port"].default
    assert f"containerPort: {port}" in GATEWAY
    assert f'E2V_PORT, value: "{port}"' in GATEWAY


def test_probes_wait_for_a_model_that_loads_but_not_for_ever() -> None:
    """Longer than the supervisor, which ends a Triton that does not load, or restarts it."""
    start, live = probe(TRITON, "startupProbe"), probe(TRITON, "livenessProbe")
    assert patience(start) > supervisor.READY_SECONDS
    assert patience(live) > supervisor.READY_SECONDS + 30
    assert start["httpGet"]["path"] == probe(TRITON, "readinessProbe")["httpGet"]["path"]
    # The supervisor's restarts are no reason to leave the Service at once.
    assert patience(probe(TRITON, "readinessProbe")) == 10
    waits = patience(probe(GATEWAY, "startupProbe"))
    assert waits >= GATEWAY_READY_SECONDS
    # A Deployment that is still starting has not failed.
    [deadline] = re.findall(r'define "progress" -}}(\d+){{', HELPERS)
    assert int(deadline) > max(waits, patience(start))


@pytest.mark.parametrize("folder", ["", "/store", "..", "../store", "a/../b", "a//b", "./a"])
def test_a_folder_of_the_volume_does_not_lead_out_of_it(folder: str) -> None:
    """Kubernetes would refuse the pod, and not the values."""
    good = values(CHART / "ci" / "cpu.yaml")
    assert ALLOWED.is_valid(merged(good, nested(("models", "folder"), "large/2026-11")))
    assert not ALLOWED.is_valid(merged(good, nested(("models", "folder"), folder)))


def test_the_gateway_has_room_for_as_many_uploads_as_the_docs_say() -> None:
    fields = GatewaySettings.model_fields
    recording = fields["max_recording_bytes"].default
    assert fields["max_files"].default * fields["max_upload_bytes"].default < recording
    assert values()["gateway"]["tmpSize"] == "8Gi"
    assert f"8 GiB are enough for {8 * 2**30 // recording}." in DOCUMENT


def test_the_command_for_the_keys_makes_keys_that_nobody_knows(tmp_path: Path) -> None:
    [block] = re.findall(r"^```sh\n((?:KEY=.*\n)(?:.+\n)+?)```", DOCUMENT, re.M)
    (tmp_path / "kubectl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "kubectl").chmod(0o755)
    shell = ["env", "-i", f"PATH={tmp_path}:/usr/bin:/bin", "bash", "-euc", block]
    said, again = (
        subprocess.run(shell, check=True, capture_output=True, text=True).stdout for _ in "12"
    )
    made = re.search(r"--from-literal=keys=(\w{64}),(\w{64})\n--from-literal=metrics=(\w+)", said)
    assert made is not None and made[1] != made[2] == made[3]
    assert said != again


def test_pods_get_the_time_that_the_programs_take_to_end() -> None:
    [stop] = re.findall(r'add \(include "triton.sleep" \.\) (\d+) \d+', TRITON)
    assert int(stop) == triton.STOP_SECONDS
    [(grace, after)] = re.findall(r'add \$sleep \(include "timeout" \.\) (\d+) (\d+)', GATEWAY)
    assert (int(grace), int(after)) == (GRACE_SECONDS, process.Gateway.STOP_SECONDS)
    # Of a timeout, so much is spent after the sleep.
    assert f'sub (include "timeout" . | int) {triton.DRAIN_SECONDS})' in TRITON


def test_shared_memory_has_room_for_each_decoder_and_the_usual_rest() -> None:
    [(rest, each)] = re.findall(
        r"sizeLimit: \{\{ add (\d+) \(mul (\d+) \$v.decoders\) \}\}Mi", TRITON
    )
    assert int(each) == triton.POOL_BYTES / 2**20
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
    assert compose["services"]["triton"]["shm_size"] == f"{int(rest) // 1024}gb"
    # So that the first pools are not smaller.
    # Beside the decoders' there are the encoder's and the timeline's.
    assert int(rest) * 2**20 >= (2 + triton.SPARE_POOLS) * triton.POOL_BYTES


def test_the_rules_and_the_dashboard_are_well_formed() -> None:
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text("utf-8"))
    rule = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "spec": rules}
    assert complaints(rule | {"metadata": {"name": "rules"}}) == []
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text("utf-8"))
    assert dashboard["title"] and dashboard["uid"]


def test_each_selector_of_the_rules_can_be_restricted_to_a_namespace() -> None:
    """Otherwise a release would also tell the alerts of another."""
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text("utf-8"))
    metric = re.compile(r"\b(?:emotion2vec[\w:]+|nv_\w+|process_\w+|up)\b(.{0,16})")
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        found = metric.findall(re.sub("#.*", "", rule["expr"]))
        assert set(found) == {'{namespace=~".*"'}, rule
    [marker] = re.findall(r'replace "(.*?)" \(', MONITORING)
    assert marker.replace("\\", "") == 'namespace=~".*"'


def manifests() -> dict[str, Resource]:
    """KServe's resources, by kind."""
    found = [yaml.safe_load(file.read_text("utf-8")) for file in sorted(KSERVE.glob("*.yaml"))]
    return {each["kind"]: each for each in found}


def test_kserve_knows_every_field() -> None:
    found = manifests()
    assert set(found) == {"InferenceService", "ServingRuntime"}
    for resource in found.values():
        assert complaints(resource) == []
        wrong = merged(resource, {"spec": {"misspelt": 1}})
        assert any("misspelt" in each for each in complaints(wrong))


def test_kserve_runs_the_service_as_the_chart_does() -> None:
    runtime, service = (
        manifests()["ServingRuntime"]["spec"],
        manifests()["InferenceService"]["spec"],
    )
    [container] = runtime["containers"]
    context = container["securityContext"]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    default = values()["triton"]
    assert container["resources"]["limits"]["memory"] == default["resources"]["memory"]
    command = container["args"][-1]
    assert f"--decoders={default['decoders']}" in command
    # KServe's own is the first.
    port, grpc = [each["containerPort"] for each in container["ports"]]
    assert f"--http-port={port}" in command
    assert (grpc, "--grpc-port" in command) == (Settings().grpc_port, False)
    annotations = runtime["annotations"]
    assert annotations["prometheus.io/port"] == str(Settings().metrics_port)
    assert annotations["prometheus.io/scrape"] == "true"
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        ours, theirs = probe(TRITON, name), container[name]
        assert ours["httpGet"]["path"] == theirs["httpGet"]["path"]
        assert theirs["httpGet"]["port"] == port
        assert patience(theirs) >= patience(ours)
        assert theirs["failureThreshold"] >= ours["failureThreshold"]
    [shm] = [each["emptyDir"] for each in runtime["volumes"] if each["name"] == "shm"]
    assert shm["sizeLimit"] == f"{1024 + 24 * default['decoders']}Mi"
    predictor = service["predictor"]
    slept = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert slept > CONNECTION_SECONDS
    assert predictor["terminationGracePeriodSeconds"] >= slept + ceil(triton.STOP_SECONDS)
    # The one that the docs give the Secret to.
    account = predictor["serviceAccountName"]
    assert f"kubectl patch serviceaccount {account} --patch" in DOCUMENT
    assert f"kubectl create secret generic {account} " in DOCUMENT
    assert predictor["model"]["runtime"] == manifests()["ServingRuntime"]["metadata"]["name"]
    [form] = runtime["supportedModelFormats"]
    assert predictor["model"]["modelFormat"]["name"] == form["name"]
    assert predictor["model"]["protocolVersion"] in runtime["protocolVersions"]
    assert "$MODEL_DIGEST" in command and "MODEL_DIGEST" in env(predictor["model"])


def test_the_service_of_kserve_is_named_as_its_model() -> None:
    """So that its address has the usual form: /v2/models/NAME/infer."""
    models: list[Any] = [path.name for path in (ROOT / "model_repository").iterdir()]
    assert manifests()["InferenceService"]["metadata"]["name"] in models
