"""The metrics for Prometheus, of requests made by hand."""

from __future__ import annotations

import os
import re
import time

import pytest

from emotion2vec_client import ModelInfo
from gateway.metrics import Metrics
from server.restarts import Restarts

MODEL = ModelInfo(
    checkpoint="a/model",
    revision=None,
    weights="random",
    published=None,
    license=None,
    precision="fp32",
    target="cpu",
    labels=(),
    card={},
)


def values(
    metrics: Metrics, model: ModelInfo | None = None, ready: bool = True
) -> dict[str, float]:
    """All samples by name and labels."""
    pattern = r"^(emotion2vec_\w+(?:\{.*\})?) ([\d.e+]+)$"
    found = re.findall(pattern, metrics.render(model, ready).decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_each_recording_of_a_request_is_counted() -> None:
    metrics = Metrics()
    with metrics.request("api") as observed:
        observed.outcomes = ["ok", "not_audio", "ok"]
        observed.seconds = 4.5
        assert values(metrics)["emotion2vec_requests_in_flight"] == 1
    with metrics.request("api") as observed:
        observed.outcomes = ["ok", "ok"]
        # This is the outcome of the whole request, as when the client disconnects.
        observed.outcome = "gone"
    found = values(metrics)
    assert found['emotion2vec_requests_total{outcome="ok",source="api"}'] == 2
    assert found['emotion2vec_requests_total{outcome="not_audio",source="api"}'] == 1
    assert found['emotion2vec_requests_total{outcome="gone",source="api"}'] == 2
    assert found['emotion2vec_request_seconds_count{source="api"}'] == 5
    assert found['emotion2vec_audio_seconds_total{source="api"}'] == 4.5
    assert found["emotion2vec_requests_in_flight"] == 0


def test_there_is_no_time_of_creation() -> None:
    metrics = Metrics()
    with metrics.request("api"):
        pass
    assert b"_created" not in metrics.render(None, True)


def test_work_that_outlives_its_request_is_counted_when_it_ends() -> None:
    metrics = Metrics()
    with metrics.request("timeline") as observed:
        counting = observed.hand_over()
    assert 'emotion2vec_requests_total{outcome="ok",source="timeline"}' not in values(metrics)
    assert values(metrics)["emotion2vec_requests_in_flight"] == 1
    with counting:
        observed.outcome = "cancelled"
    observed.outcome = "gone"  # The client disconnected before the answer.
    found = values(metrics)
    assert found['emotion2vec_requests_total{outcome="cancelled",source="timeline"}'] == 1
    assert found['emotion2vec_request_seconds_count{source="timeline"}'] == 1
    assert found["emotion2vec_requests_in_flight"] == 0
    assert 'emotion2vec_requests_total{outcome="gone",source="timeline"}' not in found


def test_a_request_that_breaks_is_counted_as_failed() -> None:
    metrics = Metrics()
    with pytest.raises(ZeroDivisionError), metrics.request("api"):
        raise ZeroDivisionError
    assert values(metrics)['emotion2vec_requests_total{outcome="failed",source="api"}'] == 1


def test_the_model_is_the_one_that_is_served_now() -> None:
    metrics = Metrics()
    name = (
        'emotion2vec_model_info{checkpoint="a/model",precision="fp32",revision="",weights="random"}'
    )
    assert values(metrics, MODEL)[name] == 1
    assert not any(key.startswith("emotion2vec_model_info") for key in values(metrics, None))


def test_readiness_is_that_of_now() -> None:
    metrics = Metrics()
    assert values(metrics, ready=True)["emotion2vec_ready"] == 1
    assert values(metrics, ready=False)["emotion2vec_ready"] == 0


def test_the_start_of_the_process_is_told() -> None:
    """By which a restart is seen where no supervisor counts it."""
    text = Metrics().render(None, True).decode()
    [start] = re.findall(r"^process_start_time_seconds (\S+)$", text, re.MULTILINE)
    assert 0 < float(start) <= time.time()


def test_restarts_are_those_that_the_supervisor_has_counted() -> None:
    restarts = Restarts()
    inherited = os.dup(restarts.file)
    try:
        metrics = Metrics(inherited)
        names = [f'emotion2vec_restarts_total{{part="{part}"}}' for part in ("triton", "gateway")]
        assert [values(metrics)[name] for name in names] == [0, 0]
        for _ in range(12):
            restarts.add("triton")
        restarts.add("gateway")
        assert [values(metrics)[name] for name in names] == [12, 1]
        assert not any("restarts" in name for name in values(Metrics()))
    finally:
        restarts.close()
        os.close(inherited)
