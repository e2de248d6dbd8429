"""The rules and the dashboard, with a real Prometheus that scrapes the real service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from benchmarks.launch import ROOT, SAMPLES, wait_until
from benchmarks.service import Service
from emotion2vec_client import Client
from tests.scenarios.monitoring import CONFIG, DASHBOARD, RULES, Prometheus, queries

LONG = "1h"
"""A window that holds all that the test does."""

ONLY_ON_A_GPU = "nv_gpu_"


def promtool(*arguments: object) -> str:
    """What promtool says; fails if it finds something."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_configuration_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "is valid prometheus config" in promtool("check", "config", CONFIG)


def test_each_alert_fires_stays_quiet_in_health_and_clears() -> None:
    tests = ROOT / "tests" / "monitoring" / "rules_test.yaml"
    promtool("test", "rules", tests)
    checked = [
        each
        for test in yaml.safe_load(tests.read_text("utf-8"))["tests"]
        for each in test["alert_rule_test"]
    ]
    for name in alerts():
        fired = [each.get("exp_alerts") for each in checked if each["alertname"] == name]
        assert fired[0] is None, name
        assert any(fired), name
        assert fired[-1] is None, name


def alerts() -> dict[str, dict]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert {"summary", "description", "runbook"} == set(rule["annotations"]), name
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/monitoring.md", name
        assert anchor in anchors, name


def test_the_dashboard_takes_its_data_source_from_a_variable() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "namespace"]
    named = [panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel]
    assert set(named) == {"${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_panels_show_restarts_without_a_supervisor(tmp_path: Path) -> None:
    """As in Kubernetes: the gateway's process is another, and Triton's counters begin again."""
    series = {
        'emotion2vec_ready{instance="g"}': "1+0x9 stale 1+0x30",
        'process_start_time_seconds{instance="g"}': "100+0x9 stale 700+0x30",
        'nv_inference_request_success{model="encoder",instance="t"}': "9+1x9 0+1x9 0+1x20",
    }
    parts = [('{part="gateway"}', 1), ('{part="triton"}', 2)]
    shown = {"Restarts in an hour": [("{}", 3)], "Restarts": parts}
    expected = [
        {
            "expr": query.filled(LONG),
            "eval_time": "40m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for panel, samples in shown.items()
        for query in queries()
        if query.panel == panel
    ]
    assert len(expected) == len(shown)
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": each} for name, each in series.items()],
        "promql_expr_test": expected,
    }
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    promtool("test", "rules", file)


@pytest.fixture(scope="module")
def service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("monitored")
    with Service(tiny_repository, outputs=folder / "outputs") as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(service, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


def use_everything(service: Service) -> None:
    """A clip, a bad file, a timeline and a stream."""
    clip = (SAMPLES / "happy.wav").read_bytes()
    with httpx.Client(base_url=service.rest_url, timeout=120) as http:
        assert http.post("/api/predict/", files={"audio": clip}).status_code == 200
        assert http.post("/api/predict/", files={"audio": b"no audio"}).status_code == 415
        job = http.post("/api/timeline/", files={"audio": clip}, data={"wait": 60}).json()
        assert job["status"] == "done"
    with (
        Client(service.grpc_url) as client,
        client.stream(gateway=service.rest_url, rate=16_000) as stream,
    ):
        stream.send((SAMPLES / "short.wav").read_bytes()[44:])
        stream.finish()
        list(stream)


def has_data(prometheus: Prometheus, expression: str) -> bool:
    return bool(prometheus.values(expression))


def test_prometheus_gets_data_for_every_query_of_the_dashboard(
    service: Service, prometheus: Prometheus
) -> None:
    # A rate needs a change between two scrapes.
    use_everything(service)
    prometheus.wait_for_scrape()
    use_everything(service)
    for query in queries():
        expression = query.filled(LONG)
        if ONLY_ON_A_GPU in expression:
            assert prometheus.query(expression) == []
        else:
            wait_until(
                partial(has_data, prometheus, expression), f"{query.panel} has data: {expression}"
            )


def test_a_healthy_service_causes_no_alert(service: Service, prometheus: Prometheus) -> None:
    use_everything(service)
    prometheus.wait_for_scrape()
    assert prometheus.values("emotion2vec_ready") == [1]
    # Each rule is evaluated without an error.
    groups = httpx.get(f"{prometheus.url}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} > set(alerts())
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    assert prometheus.firing() == set()


def test_a_restart_is_seen_from_outside(tiny_repository: Path, tmp_path: Path) -> None:
    with (
        Service(tiny_repository, outputs=tmp_path / "outputs") as service,
        Prometheus(service, tmp_path) as prometheus,
    ):
        service.wait_until_ready()
        prometheus.wait_for_scrape()
        service.part("tritonserver").kill()
        service.wait_for("Triton is running again")
        # It goes on for a quarter of an hour.
        wait_until(lambda: prometheus.firing() == {"Emotion2vecRestarted"}, "the restart is told")
        wait_until(lambda: prometheus.values("emotion2vec_ready") == [1], "it is ready again")
