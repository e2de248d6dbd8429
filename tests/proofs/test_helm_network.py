"""Who reaches whom by the Helm chart: selectors, network policies, and where traces go."""

from __future__ import annotations

import pytest

from server import tracing
from tests.kubernetes import Resource, containers, env
from tests.proofs.helm import NAMESPACE, RELEASE, Render, every_way, of_kind, pods


@every_way
def test_selectors_match_the_labels_of_one_deployment(render: Render, file: str) -> None:
    resources = render(file)
    labels = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for name, each in of_kind(resources, "Deployment").items()
    }

    def matched(selector: Resource) -> list[str]:
        return [name for name, each in labels.items() if selector.items() <= each.items()]

    for name, deployment in of_kind(resources, "Deployment").items():
        assert matched(deployment["spec"]["selector"]["matchLabels"]) == [name]
        for spread in pods(resources)[name]["topologySpreadConstraints"]:
            assert matched(spread["labelSelector"]["matchLabels"]) == [name]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for name, each in of_kind(resources, kind).items():
            selector = each["spec"].get("selector") or each["spec"]["podSelector"]
            assert matched(selector["matchLabels"]) == [name]
    for name, service in of_kind(resources, "Service").items():
        assert matched(service["spec"]["selector"]) == [name]
        [container] = pods(resources)[name]["containers"]
        named = {each["name"] for each in container["ports"]}
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= named
    for monitor in of_kind(resources, "ServiceMonitor").values():
        services = of_kind(resources, "Service").values()
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert all(wanted <= each["metadata"]["labels"].items() for each in services)
        offered = [port["name"] for each in services for port in each["spec"]["ports"]]
        # Of one Service each: what has no metrics would be a target that is down.
        assert [offered.count(each["port"]) for each in monitor["spec"]["endpoints"]] == [1, 1]


@every_way
def test_only_the_gateway_reaches_triton(render: Render, file: str) -> None:
    """And Prometheus its metrics, where monitoring or autoscaling is on, and who is named."""
    resources = render(file)
    policies = of_kind(resources, "NetworkPolicy")
    gateway = of_kind(resources, "Deployment")["gateway"]["spec"]["template"]["metadata"]["labels"]
    first, *rest = policies["triton"]["spec"]["ingress"]
    assert first == {
        "from": [{"podSelector": {"matchLabels": gateway}}],
        "ports": [{"port": "grpc"}],
    }
    prometheus = {
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ],
        "ports": [{"port": "metrics"}],
    }
    named = {
        "from": [
            {"podSelector": {"matchLabels": {"app": "transcription"}}},
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "analytics"}}},
        ],
        "ports": [{"port": "grpc"}, {"port": "http"}],
    }
    scraped = ("monitoring", "keda", "hpa")
    expected = {"cpu": [named], **{each: [prometheus] for each in scraped}}
    assert rest == expected.get(file, [])
    assert set(policies["triton"]["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    # Traces are below.
    if file != "monitoring":
        assert policies["triton"]["spec"]["egress"] == ([{}] if file in ("s3", "gcs") else [])
    # The Service has addresses of pods, so that no other way leads around the policy.
    service = of_kind(resources, "Service")["triton"]["spec"]
    assert service["clusterIP"] == "None"
    assert {each["port"] for each in service["ports"]} == {8000, 8001, 8002}
    reached = env(pods(resources)["gateway"]["containers"][0])["E2V_TRITON_URL"]
    assert reached == f"{RELEASE}-triton.{NAMESPACE}.svc:8001"


DNS = {
    "ports": [
        {"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")
    ]
}


@pytest.mark.parametrize(
    ("options", "port", "to"),
    [
        ([], 4318, "observability"),
        (["tracing.endpoint=https://otel.example.org/v1"], 443, "observability"),
        (["tracing.endpoint=http://otel.example.org", "tracing.namespace="], 80, None),
    ],
)
def test_traces_are_sent_and_may_be(
    render: Render, options: list[str], port: int, to: str | None
) -> None:
    resources = render("monitoring", *(f"--set={option}" for option in options))
    rule: Resource = {"ports": [{"port": port}]}
    if to:
        labels = {"kubernetes.io/metadata.name": to}
        rule["to"] = [{"namespaceSelector": {"matchLabels": labels}}]
    policies = of_kind(resources, "NetworkPolicy")
    assert policies["triton"]["spec"]["egress"] == [rule, DNS]
    assert policies["gateway"]["spec"]["egress"][1:] == [rule, DNS]
    found = pods(resources)
    for pod in found.values():
        [container] = pod["containers"]
        # What the programs make of the variables.
        url = tracing.traces_url(env(container))
        assert url is not None and url.endswith("/v1/traces")
        [headers] = [each for each in container["env"] if each["name"].endswith("_HEADERS")]
        assert headers["valueFrom"]["secretKeyRef"] == {"name": "collector", "key": "headers"}
    [gateway] = found["gateway"]["containers"]
    assert env(gateway)["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio"
    assert env(gateway)["OTEL_TRACES_SAMPLER_ARG"] == "0.1"


def test_nothing_is_traced_by_default(render: Render) -> None:
    resources = render("cpu")
    for pod in pods(resources).values():
        for container in containers(pod):
            assert not [name for name in env(container) if name.startswith("OTEL_")]
    assert of_kind(resources, "NetworkPolicy")["gateway"]["spec"]["egress"][1:] == [DNS]
