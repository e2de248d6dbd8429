"""120,000 files for the decoder, 20,000 requests for the models, 500 for each REST endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.launch import PATIENCE
from benchmarks.tables import table
from server.triton import Triton
from tests.conftest import settings_for
from tests.fuzz import attacks, decoder, kserve, openapi
from tests.fuzz.measured import Measured
from tests.integration.gateways import Gateway

SEED = int(os.environ.get("SEED", "1"))
FILES, REQUESTS, REST_REQUESTS = 120_000, 20_000, 500


def test_every_attack_is_ended_or_answered(show: Callable[[str], None]) -> None:
    rows, unexpected = [], []
    for name, (make, expected) in attacks.ATTACKS.items():
        data = make()
        target = Measured()
        outcome, died, seconds, peak = target.attempt(data)
        target.decoder.close()
        if outcome not in expected and died != decoder.CPU_LIMIT:
            unexpected.append(f"{name}: {outcome}")
        spent = (f"ended by {died}", "") if died else (f"{seconds:.2f}", f"{peak:.1f}")
        rows.append((name, f"{len(data) / 2**20:.1f}", f"`{outcome}`", *spent))
    show(table(("file", "MB", "answer", "s of CPU time", "MB at the peak"), rows) + "\n")
    assert unexpected == []


def test_no_file_breaks_the_decoder(show: Callable[[str], None]) -> None:
    target = Measured()
    try:
        outcome = decoder.fuzz(target, range(FILES), SEED)
    finally:
        target.decoder.close()
    show(str(outcome))
    assert outcome.findings == []


def test_no_request_breaks_a_model(tiny_repository: Path, show: Callable[[str], None]) -> None:
    with Triton(settings_for(tiny_repository)) as triton:
        triton.wait_until_ready(PATIENCE)
        outcome = kserve.fuzz(triton, inputs=REQUESTS, seed=SEED)
    show(f"{REQUESTS} requests: {dict(outcome.statuses.most_common())}")
    assert outcome.findings == []
    assert sum(outcome.statuses.values()) >= REQUESTS


def test_no_request_breaks_the_gateway(
    url: str, tmp_path: Path, show: Callable[[str], None]
) -> None:
    with Gateway(url, tmp_path) as gateway:
        schema = openapi.described(gateway.url)
        asked = [operation.ok() for operation in schema.get_all_operations()]
        for each in asked:
            openapi.fuzz(schema, each.path, each.method, REST_REQUESTS)
    show(f"{REST_REQUESTS} requests to each of {len(asked)} endpoints were answered as described")
