"""Requests that the gateway's OpenAPI description allows, made up by Schemathesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
from hypothesis import HealthCheck

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema


def described(url: str) -> BaseSchema:
    """What the gateway at ``url`` says of itself."""
    import schemathesis  # Takes two seconds, in every worker if it were above.

    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def fuzz(schema: BaseSchema, path: str, method: str, inputs: int) -> None:
    """Asks so many times; raises where an answer is not one that the description has."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]

    @hypothesis.settings(
        max_examples=inputs, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(case=schema[path][method].as_strategy())
    def check(case: Case) -> None:
        case.call_and_validate(checks=checks)

    check()
