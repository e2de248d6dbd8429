"""What the Helm chart says of its pods: security, probes, secrets, times, hardware and volumes."""

from __future__ import annotations

import re

import pytest
import yaml

from gateway.settings import GRACE_SECONDS
from server import process, triton
from server.settings import CONNECTION_SECONDS
from tests.kubernetes import CHART, VALUES, Resource, containers, env
from tests.proofs.helm import Render, every_way, of_kind, pods


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
