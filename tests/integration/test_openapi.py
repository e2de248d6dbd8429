"""The gateway's responses to all requests that its OpenAPI description allows are as described."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.fuzz import openapi
from tests.integration.gateways import Gateway

if TYPE_CHECKING:
    from schemathesis.schemas import BaseSchema

DESCRIBED = json.loads((ROOT / "gateway" / "openapi.json").read_text(encoding="utf-8"))["paths"]


@pytest.fixture(scope="module")
def described(gateway: Gateway) -> BaseSchema:
    return openapi.described(gateway.url)


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path in DESCRIBED for method in DESCRIBED[path]]
)
def test_whatever_the_description_allows_is_answered_as_it_says(
    described: BaseSchema, path: str, method: str
) -> None:
    openapi.fuzz(described, path, method, inputs=25)
