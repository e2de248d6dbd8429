"""The Helm chart's rules, dashboard and scaling, computed by Prometheus (promtool)."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from export.targets import TARGETS
from tests.conftest import ROOT
from tests.kubernetes import CHART, Resource
from tests.proofs.helm import NAMESPACE, RELEASE, Render, of_kind
from tests.scenarios.scaling import Scaler


def test_monitoring_has_the_files_and_the_key(render: Render) -> None:
    resources = render("monitoring")
    [rules] = of_kind(resources, "PrometheusRule").values()
    text = (CHART / "files" / "rules.yaml").read_text()
    own = text.replace('namespace=~".*"', f'namespace="{NAMESPACE}"')
    assert own != text
    assert rules["spec"] == yaml.safe_load(own)
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    [config] = of_kind(resources, "ConfigMap").values()
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    [rendered] = (json.loads(each) for each in config["data"].values())
    shipped = json.loads((CHART / "files" / "dashboard.json").read_text())
    [namespace] = (each for each in rendered["templating"]["list"] if each["name"] == "namespace")
    assert namespace["current"] == {"text": [NAMESPACE], "value": [NAMESPACE]}
    assert rendered["panels"] == shipped["panels"]
    [monitor] = of_kind(resources, "ServiceMonitor").values()
    by_port = {each["port"]: each for each in monitor["spec"]["endpoints"]}
    credentials = by_port["http"]["authorization"]["credentials"]
    assert credentials == {"name": "emotion2vec-keys", "key": "metrics"}


def test_two_releases_do_not_tell_or_compute_anything_twice(helm: Path, tmp_path: Path) -> None:
    """As promtool finds it with the rules of both: each alert is that of one namespace."""
    files, dashboards = [], []
    for namespace in ("production", "staging"):
        command: list[str | Path] = [helm, "template", RELEASE, CHART, f"--namespace={namespace}"]
        command.append(f"--values={CHART / 'ci' / 'monitoring.yaml'}")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        resources = [each for each in yaml.safe_load_all(done.stdout) if each]
        [rules] = of_kind(resources, "PrometheusRule").values()
        file = tmp_path / f"{namespace}.yaml"
        file.write_text(yaml.safe_dump(rules["spec"]))
        files.append(file)
        [config] = of_kind(resources, "ConfigMap").values()
        dashboards += config["data"].items()
    found = [json.loads(text) for _, text in dashboards]
    for distinct in ({name for name, _ in dashboards}, {each["uid"] for each in found}):
        assert len(distinct) == 2
    assert all(len(each["uid"]) <= 40 for each in found)
    assert len({each["title"] for each in found}) == 2

    def series(name: str, namespace: str, values: str, **labels: str) -> Resource:
        own = {"namespace": namespace, **labels}
        selector = ",".join(f'{label}="{value}"' for label, value in own.items())
        return {"series": f"{name}{{{selector}}}", "values": values}

    api = {"source": "api"}
    input_series = [
        series("emotion2vec_ready", "production", "1+0x60 stale", instance="p"),
        series("emotion2vec_ready", "staging", "1+0x120", instance="s"),
    ]
    for namespace in ("production", "staging"):
        input_series += [
            series("emotion2vec_requests_total", namespace, "0+100x120", **api, outcome="failed"),
        ]

    [failing, absent] = (
        rule["annotations"]
        for group in rules["spec"]["groups"]
        for name in ("Emotion2vecFailing", "Emotion2vecAbsent")
        for rule in group["rules"]
        if rule.get("alert") == name
    )
    failing["description"] = failing["description"].replace(
        "{{ $value | humanizePercentage }}", "100%"
    )

    def alerts(name: str, annotations: Resource, *namespaces: str) -> Resource:
        expected = [
            {
                "exp_labels": {"severity": "critical", "namespace": each},
                "exp_annotations": annotations,
            }
            for each in namespaces
        ]
        return {"alertname": name, "eval_time": "70m", "exp_alerts": expected}

    expected = [
        alerts("Emotion2vecFailing", failing, "production", "staging"),
        alerts("Emotion2vecAbsent", absent, "production"),
        alerts("Emotion2vecNotReady", {}),
    ]
    test = {"interval": "1m", "input_series": input_series, "alert_rule_test": expected}
    tests = tmp_path / "tests.yaml"
    tests.write_text(yaml.safe_dump({"rule_files": [str(each) for each in files], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", tests], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_adapter_provides_what_keda_asks_for(render: Render) -> None:
    documented = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    [rule] = re.findall(r"```yaml\n(externalRules:.*?)```", documented, re.S)
    [external] = yaml.safe_load(rule)["externalRules"]
    [scaled] = of_kind(render("hpa"), "HorizontalPodAutoscaler").values()
    [metric] = scaled["spec"]["metrics"]
    assert external["name"]["as"] == metric["external"]["metric"]["name"]
    [scaled] = of_kind(render("keda"), "ScaledObject").values()
    asked = scaled["spec"]["triggers"][0]["metadata"]["query"]
    pods = f'namespace="{NAMESPACE}",service="{RELEASE}-triton"'
    own = external["metricsQuery"].replace("<<.LabelMatchers>>", pods)
    assert own.replace(" by (namespace, service)", "") == asked


@pytest.mark.parametrize("file", ["keda", "hpa"])
def test_triton_scales_on_how_long_clips_wait(render: Render, file: str) -> None:
    resources = render(file)
    assert "replicas" not in of_kind(resources, "Deployment")["triton"]["spec"]
    if file == "keda":
        [scaled] = [each["spec"] for each in of_kind(resources, "ScaledObject").values()]
        [trigger] = scaled["triggers"]
        assert trigger["metricType"] == "Value"
        assert trigger["metadata"]["threshold"] == "0.6"
        assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 6)
        behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        [scaled] = [each["spec"] for each in of_kind(resources, "HorizontalPodAutoscaler").values()]
        [metric] = scaled["metrics"]
        assert metric["external"]["target"] == {"type": "Value", "value": "0.5"}
        behavior = scaled["behavior"]
    assert scaled["scaleTargetRef"]["name"] == f"{RELEASE}-triton"
    scaler = Scaler(target=0.5)
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    [doubled] = behavior["scaleUp"]["policies"]
    assert doubled == {"type": "Percent", "value": 100, "periodSeconds": scaler.doubling}
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == scaler.down


def test_the_query_of_the_scaling_is_a_share_of_time(render: Render, tmp_path: Path) -> None:
    """Prometheus computes it (promtool, of Debian's package `prometheus`): also without traffic."""
    delays = {target.queue_delay for target in TARGETS.values()} - {0}
    [scaled] = of_kind(render("keda"), "ScaledObject").values()
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    labels = f'{{model="encoder",namespace="{NAMESPACE}",service="{RELEASE}-triton",pod="%s"}}'

    def test(requests: int, queue: int, compute: int, *expected: float) -> Resource:
        counters = {
            "request_success": requests,
            "queue_duration_us": queue,
            "compute_infer_duration_us": compute,
        }
        series = [
            {"series": f"nv_inference_{name}{labels % pod}", "values": f"0+{step}x60"}
            for name, step in counters.items()
            for pod in ("a", "b")
        ]
        samples = [{"labels": "{}", "value": value} for value in expected]
        asked = {"expr": query, "eval_time": "5m", "exp_samples": samples}
        return {"interval": "5s", "input_series": series, "promql_expr_test": [asked]}

    # On a GPU, each request waits for this delay although there is no load.
    [delay] = delays
    tests = [
        test(10, 600_000 + 10 * delay, 200_000, 0.75),
        test(10, 10 * delay, 30_000, 0),
        test(10, 0, 200_000, 0),
        test(0, 0, 0, 0),
        {"interval": "5s", "input_series": [], "promql_expr_test": [
            {"expr": query, "eval_time": "5m", "exp_samples": []}
        ]},
    ]  # fmt: skip
    file = tmp_path / "query.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
