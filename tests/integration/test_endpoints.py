"""Triton's administrative APIs are closed over both protocols, and production mode is safe."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import httpx
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from benchmarks.service import Service
from server.errors import ServerError
from server.production import check
from server.settings import Settings
from server.triton import Triton
from tests.conftest import SAMPLES, settings_for

HTTP_APIS = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/encoder/load"),
    ("POST", "/v2/repository/models/encoder/unload"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/x/register"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("POST", "/v2/models/encoder/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
]
BODY = {"key": "/x", "offset": 0, "byte_size": 1, "trace_file": "/tmp/x", "log_verbose_level": 1}

GRPC_APIS = {
    "index": lambda client: client.get_model_repository_index(),
    "load": lambda client: client.load_model("encoder"),
    "unload": lambda client: client.unload_model("encoder"),
    "shared memory": lambda client: client.get_system_shared_memory_status(),
    "register": lambda client: client.register_system_shared_memory("x", "/x", 1),
    "CUDA shared memory": lambda client: client.get_cuda_shared_memory_status(),
    "trace": lambda client: client.get_trace_settings(),
    "set trace": lambda client: client.update_trace_settings(settings={"trace_rate": "1"}),
    "logging": lambda client: client.get_log_settings(),
    "set logging": lambda client: client.update_log_settings({"log_verbose_level": 1}),
}


@pytest.mark.parametrize(("method", "path"), HTTP_APIS)
def test_administrative_apis_over_http_are_closed(triton: Triton, method: str, path: str) -> None:
    answer = httpx.request(method, triton.settings.http_url + path, content=json.dumps(BODY))
    assert answer.status_code == 403
    assert "restricted" in answer.text


@pytest.mark.parametrize("api", GRPC_APIS)
def test_administrative_apis_over_grpc_are_closed(url: str, api: str) -> None:
    with grpc.InferenceServerClient(url) as client:
        with pytest.raises(InferenceServerException, match="restricted"):
            GRPC_APIS[api](client)
        # The APIs that clients need are open.
        assert client.is_server_ready()
        assert client.get_model_config("encoder")


@pytest.mark.parametrize("path", ["/ping", "/invocations", "/v1/endpoints/x/deployedModels/y"])
def test_other_clouds_routes_are_not_there(triton: Triton, path: str) -> None:
    assert httpx.post(triton.settings.http_url + path).status_code in (400, 404)


def test_everything_listens_on_loopback_alone(triton: Triton) -> None:
    hosts = {host for host, _ in triton.settings.addresses().values()}
    assert hosts == {"127.0.0.1"}
    ports = {port for _, port in triton.settings.addresses().values()}
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        host, port = address.split(":")
        if state == "0A" and int(port, 16) in ports:
            listening.add(host)
    # This is 127.0.0.1 in the kernel's notation; 00000000 would be every address.
    assert listening == {"0100007F"}


def test_with_tls_unencrypted_ports_stay_on_loopback() -> None:
    settings = Settings(host="0.0.0.0", tls_cert=Path("c"), tls_key=Path("k"), tls_ca=Path("a"))
    assert settings.addresses()["grpc"][0] == "0.0.0.0"
    assert {settings.addresses()[name][0] for name in ("http", "metrics")} == {"127.0.0.1"}
    assert settings.local_url.startswith("http://127.0.0.1:")


def test_triton_gets_files_that_it_finds_from_another_folder() -> None:
    settings = Settings(tls_cert=Path("c"), tls_key=Path("k"), tls_ca=Path("a"))
    files = {each.partition("=")[2] for each in settings.arguments() if each.startswith("--grpc-")}
    assert {str(Path.cwd() / name) for name in "cka"} <= files


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tls_cert": "pyproject.toml"}, "both"),
        ({"tls_ca": "pyproject.toml"}, "as well"),
        ({"tls_cert": "missing.pem", "tls_key": "pyproject.toml"}, "missing.pem does not exist"),
    ],
)
def test_half_of_tls_is_refused(files: dict[str, str], sentence: str) -> None:
    settings = Settings(**{name: Path(path) for name, path in files.items()})  # type: ignore[arg-type]
    with pytest.raises(ServerError, match=sentence):
        settings.check_tls()


@pytest.fixture
def pretrained(tiny_repository: Path) -> Settings:
    """A checkpoint from a folder, as here, counts as real weights."""
    return settings_for(tiny_repository)


@pytest.mark.parametrize(
    ("weights", "words"),
    [("random", "refuses random weights"), ("demonstration", "refuses the demonstration model")],
)
def test_production_refuses_weights_that_are_often_wrong(
    weights: str, words: str, tiny_repository: Path, tmp_path: Path
) -> None:
    repository = copytree(tiny_repository, tmp_path / "model_repository")
    config = repository / "encoder" / "config.pbtxt"
    text = config.read_text("utf-8")
    assert '\\"weights\\":\\"pretrained\\"' in text
    config.write_text(text.replace('\\"pretrained\\"', f'\\"{weights}\\"'), "utf-8")
    with Service(repository, "--production") as server:
        assert server.wait() == 1
    assert words in server.said


def test_production_refuses_a_triton_that_is_open_to_a_network(pretrained: Settings) -> None:
    check(pretrained)
    with pytest.raises(ServerError, match=r"refuses gRPC on 0\.0\.0\.0"):
        check(Settings(pretrained.model_repository, host="0.0.0.0"))
    files = dict.fromkeys(("tls_cert", "tls_key", "tls_ca"), SAMPLES / "make.py")
    check(Settings(pretrained.model_repository, host="0.0.0.0", **files))  # type: ignore[arg-type]


def test_production_refuses_a_gateway_that_is_open_to_a_network(tiny_repository: Path) -> None:
    with Service(tiny_repository, "--gateway", "--production", host="0.0.0.0") as server:
        assert server.wait() == 1
    assert "refuses a gateway on 0.0.0.0 that is open to everyone" in server.said
    assert "starting Triton" not in server.said


def test_keys_that_are_missing_from_their_variable_open_nothing(tiny_repository: Path) -> None:
    """Also without --production: who sets the variable wants keys."""
    with Service(tiny_repository, "--gateway", api_keys=" , ") as server:
        assert server.wait() == 1
    assert "E2V_API_KEYS cannot be used: it is set but has no key in it" in server.said
    assert "starting Triton" not in server.said


def test_a_triton_that_is_open_to_a_network_is_warned_of(tiny_repository: Path) -> None:
    with Service(tiny_repository, "--host=0.0.0.0") as server:
        server.wait_for("0.0.0.0 is open to a network, and this Triton (2.51) has published")


def test_production_serves(tiny_repository: Path) -> None:
    with Service(tiny_repository, "--production") as server:
        server.wait_for("ready on gRPC 127.0.0.1")
