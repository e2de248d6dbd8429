"""Every command block of the docs runs unchanged, in a fresh copy of the repository."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shutil import copy, copytree

import pytest

from benchmarks import corpus
from benchmarks.launch import PATIENCE, Program, free_ports
from tests.conftest import ROOT

DOCUMENTS = (
    "README.md",
    "README.zh-CN.md",
    "client/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)

RUN_ALL = "make run"
SERVES = (RUN_ALL, ".venv/bin/python -m server --gateway --production")
"""Commands that run until they are ended. The other blocks use the service of the first."""

ELSEWHERE = {
    "docker ": "needs Docker and a GPU",
    "make bench": "takes minutes; tests/integration/test_bench.py runs a short one",
    "make (test|proofs)": "is what runs this",
    r".*speech\.example\.org": "names a server that does not exist",
    r".*recordings\.csv": "needs labelled recordings of your own",
}
"""Commands that are not run here, with the reason."""

BLOCKS_ELSEWHERE = {
    "docker build|rclone|helm |kubectl ": "needs a cluster; see tests/proofs/test_helm*.py",
    "^prometheus ": "serves until it is ended; run by tests/integration/test_monitoring.py",
    "onnxruntime-gpu": "needs a GPU, and changes the packages that the other tests use",
    "^OTEL_": "needs a collector; run by tests/integration/test_tracing.py",
}
"""Blocks that are not run here as a whole, by what is in them."""

INSTALLS = "pip install "


def blocks() -> Iterator[tuple[str, str, str, str]]:
    """Document, line number, language and text of each block."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield document, str(line), found[1], found[2]


def commands(language: str, text: str) -> str:
    """The part of a block that is run."""
    if language == "python":
        return text
    if any(re.search(each, text, re.MULTILINE) for each in BLOCKS_ELSEWHERE):
        return ""
    left_out = (INSTALLS, *SERVES)
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not line.startswith(left_out) and not any(re.match(each, line) for each in ELSEWHERE)
    )


def once(found: Iterable[tuple[str, str, str, str]]) -> list[object]:
    """The blocks as parameters, in order, without those that differ only in comments."""
    different = {re.sub(r" *#.*", "", block[3]): block for block in reversed(list(found))}
    return [
        pytest.param(*block, id=f"{block[0]}:{block[1]}")
        for block in sorted(
            different.values(), key=lambda block: (DOCUMENTS.index(block[0]), int(block[1]))
        )
    ]


SERVING = once(block for block in blocks() if block[3].startswith(SERVES[1]))
INSTALLING = once(block for block in blocks() if block[3].startswith(INSTALLS))
RUN = once(block for block in blocks() if commands(*block[2:]).strip())


@pytest.fixture(scope="module")
def clone(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copies of all files that git does not ignore, one per name, ready to run the tiny model."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name in made:
            return made[name]
        folder = made[name] = tmp_path_factory.mktemp("clone")
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / file, folder / file)
        copytree(tiny_repository / "encoder", folder / "model_repository" / "encoder")
        # Share the clips of the benchmarks, because they take seconds to make.
        corpus.CACHE.mkdir(exist_ok=True)
        (folder / "benchmarks" / corpus.CACHE.name).symlink_to(corpus.CACHE)
        environment = folder / ".venv"
        environment.mkdir()
        for entry in Path(sys.prefix).iterdir():
            (environment / entry.name).symlink_to(entry)
        for group in ("run", "serve", "export", "bench", "dev"):
            mark = environment / f".{group}"
            mark.unlink(missing_ok=True)
            mark.touch()
        return folder

    return get


class Served(Program):
    """A command of the docs that starts a service, on free ports."""

    def __init__(self, command: str, folder: Path) -> None:
        http, grpc, metrics, page = free_ports(4)
        ports = f"--http-port {http} --grpc-port {grpc} --metrics-port {metrics}"
        if command.startswith("make "):
            # The docs pass options through make with ARGS.
            command = f"{command} ARGS='{ports}'"
        else:
            command = f"{command.partition('#')[0]} {ports}"
        self.addresses = {"localhost:8000": http, "localhost:8001": grpc, "localhost:7860": page}
        own = {"E2V_PORT": str(page), "E2V_OUTPUTS": str(folder / "outputs")}
        super().__init__(["bash", "-c", f"exec {command}"], cwd=folder, environment=own)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to make and all that it runs, as the terminal does."""
        os.killpg(self.pid, number)

    def here(self, text: str) -> str:
        """The text with the ports of this service."""
        # Locust starts a gRPC user here, also if the host has no port.
        text = re.sub(r"--host localhost(?!:)", "--host localhost:8001", text)
        for address, port in self.addresses.items():
            text = text.replace(address, f"localhost:{port}")
        return text


@pytest.fixture(scope="module")
def service(clone: Callable[[str], Path]) -> Iterator[Served]:
    """The service that ``make run`` starts."""
    with Served(RUN_ALL, clone("served")) as running:
        running.line("in a browser")
        # When it is ready, it recognises a first sample; this is the last label.
        running.line("unknown")
        yield running


def run(
    folder: Path, language: str, text: str, search: str, **own: str
) -> subprocess.CompletedProcess[str]:
    program = ["bash", "-euo", "pipefail"] if language == "sh" else ["python", "-"]
    return subprocess.run(
        program, input=text, cwd=folder,
        env={**os.environ, "PATH": f"{search}:{os.environ['PATH']}", **own},
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize(("document", "line", "language", "text"), RUN)
def test_a_block_runs(
    document: str,
    line: str,
    language: str,
    text: str,
    service: Served,
    clone: Callable[[str], Path],
) -> None:
    # A document's blocks share a folder, because one may use files of an earlier one.
    folder = clone(document)
    done = run(
        folder,
        language,
        service.here(commands(language, text)),
        str(folder / ".venv" / "bin"),
        E2V_TRITON_URL=service.here("localhost:8001"),
        E2V_GATEWAY_URL=service.here("http://localhost:7860"),
        # Without these, Locust asks for them on its web page and does not end.
        LOCUST_HEADLESS="true", LOCUST_USERS="1", LOCUST_RUN_TIME="1s",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr


@pytest.mark.parametrize(("document", "line", "language", "text"), SERVING)
def test_what_serves_gets_ready_and_ends(
    document: str, line: str, language: str, text: str, clone: Callable[[str], Path]
) -> None:
    with Served(text.strip(), clone(document)) as service:
        service.line("in a browser")
        assert service.end(signal.SIGINT) in (0, 130, -signal.SIGINT), service.said


@pytest.mark.parametrize(("document", "line", "language", "text"), INSTALLING)
def test_the_client_installs(
    document: str,
    line: str,
    language: str,
    text: str,
    clone: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """It installs into a new environment that takes pip and the dependencies from this one."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    own = Path(sys.prefix) / packages.relative_to(environment)
    (packages / "own.pth").write_text(f"{own}\n")
    pip = environment / "bin" / "pip"
    pip.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
    pip.chmod(0o755)
    done = run(
        clone(document), "sh", text, str(environment / "bin"),
        PIP_NO_BUILD_ISOLATION="false", PIP_NO_INDEX="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_COMPILE="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    asked = subprocess.run(
        [environment / "bin" / "emotion2vec", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stdout.startswith("emotion2vec ")
    assert (packages / "emotion2vec_client").is_dir()


def test_every_command_is_run_or_left_out_for_a_reason() -> None:
    texts = [text for *_, text in blocks()]
    assert len(RUN) + len(SERVING) + len(INSTALLING) > 15
    for pattern in (*ELSEWHERE, INSTALLS):
        assert any(re.search(f"^{pattern}", text, re.MULTILINE) for text in texts), pattern
    for pattern in BLOCKS_ELSEWHERE:
        assert any(re.search(pattern, text, re.MULTILINE) for text in texts), pattern
    for serving in SERVES:
        assert any(text.startswith(serving) for text in texts), serving
