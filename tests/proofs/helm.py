"""What the proofs of the Helm chart share: its release, and the resources that it renders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.kubernetes import VALUES, Resource

RELEASE, NAMESPACE = "e2v", "speech"

Render = Callable[..., list[Resource]]
"""The fixture of conftest.py: takes a file of ci/ and more options of `helm template`."""


def every_way(test: Any) -> Any:
    """Runs a test with each file of values."""
    return pytest.mark.parametrize("file", [each.stem for each in VALUES])(test)


def of_kind(resources: Sequence[Resource], kind: str) -> dict[str, Resource]:
    """The resources of a kind, by what follows the release in their names."""
    found = (each for each in resources if each["kind"] == kind)
    return {each["metadata"]["name"].removeprefix(f"{RELEASE}-"): each for each in found}


def pods(resources: Sequence[Resource]) -> dict[str, Resource]:
    """The pods' specs of the Deployments."""
    found = of_kind(resources, "Deployment")
    return {name: each["spec"]["template"]["spec"] for name, each in found.items()}
