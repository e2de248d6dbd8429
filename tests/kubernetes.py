"""Kubernetes resources in the tests: the chart's files, and the schemas of custom resources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema_rs import validator_for

from benchmarks.launch import ROOT

CHART = ROOT / "deploy" / "helm" / "emotion2vec"
KSERVE = ROOT / "deploy" / "kserve"
CRDS = ROOT / "tests" / "crds"

VALUES = sorted((CHART / "ci").glob("*.yaml"))
"""Files of values, each for one way to install the chart."""

Resource = dict[str, Any]


def merged(base: Resource, over: Resource) -> Resource:
    """Values over others, as Helm merges them."""
    result = deepcopy(base)
    for key, value in over.items():
        own = result.get(key)
        both = isinstance(value, dict) and isinstance(own, dict)
        result[key] = merged(own, value) if both else value  # type: ignore[arg-type]
    return result


def values(*files: Path) -> Resource:
    """The chart's values with those of the files over them."""
    result: Resource = {}
    for file in (CHART / "values.yaml", *files):
        result = merged(result, yaml.safe_load(file.read_text("utf-8")))
    return result


def has_definition(resource: Resource) -> bool:
    """Whether a resource is of a custom kind, whose schema is in tests/crds/."""
    return (CRDS / f"{resource['kind'].lower()}.json").is_file()


def complaints(resource: Resource) -> list[str]:
    """What its operator's definition has against a custom resource, unknown fields included."""
    schema = json.loads((CRDS / f"{resource['kind'].lower()}.json").read_text("utf-8"))
    found = validator_for(_strict(schema)).iter_errors(resource)
    return [f"{'.'.join(map(str, each.instance_path))}: {each.message}" for each in found]


def _strict(schema: Any) -> Any:
    """The schema with unknown fields refused, as `kubectl apply` does."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _strict(each) for key, each in schema.items()}
    fields = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def containers(pod: Resource) -> Iterator[Resource]:
    """All containers of a pod's spec."""
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def env(container: Resource) -> dict[str, str]:
    """The variables of a container whose values stand in the manifest."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
