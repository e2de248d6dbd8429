"""The gateway keeps what its OpenAPI description says, whatever it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import HealthCheck

from tests.conftest import ROOT
from tests.integration.gateways import Gateway

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

DESCRIBED = json.loads((ROOT / "gateway" / "openapi.json").read_text(encoding="utf-8"))["paths"]


@pytest.fixture(scope="module")
def described(gateway: Gateway) -> BaseSchema:
    import schemathesis  # Takes two seconds, in every worker if it were above.

    return schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")


@pytest.fixture(scope="module")
def checks() -> list[Callable]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    return [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path in DESCRIBED for method in DESCRIBED[path]]
)
def test_whatever_the_description_allows_is_answered_as_it_says(
    described: BaseSchema, checks: list[Callable], path: str, method: str
) -> None:
    @hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=described[path][method].as_strategy())
    def check(case: Case) -> None:
        case.call_and_validate(checks=checks)

    check()
