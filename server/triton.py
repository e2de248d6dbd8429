"""One tritonserver process: starts it, waits until it is ready, and ends it without leftovers."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO

from server import installation, process, tracing
from server.errors import ServerError
from server.leftovers import OWNED_PREFIX, claim, remove_stale_files
from server.reaper import SHM, environments, remove, remove_environments, remove_files
from server.repository import ENCODER, instances, with_instances
from server.settings import Settings
from server.stop import Stop

DRAIN_SECONDS = 30
"""How long accepted requests may take after Triton is told to stop."""

STOP_SECONDS = DRAIN_SECONDS + 5

POOL_BYTES = 24 * 2**20
"""How much of /dev/shm each process of a Python backend reserves at the start: on a CPU, enough for
any batch of any model but the timeline. If a pool has to grow while /dev/shm is full, its process
may crash in C++, where Python cannot prevent it."""

SPARE_POOLS = 2
"""Together they leave at least this many pools free: a container has 64 MB by default."""

LEAST_POOL_BYTES = 2**20
"""Triton's minimum."""

log = logging.getLogger("triton")

HEAD = re.compile(r"([IWEF])\d{4} \S+ \d+ ")
"""The start of Triton's own lines: level and date, time, process."""

LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}

NO_GPU_NOISE = (
    b"CudaDriverHelper has not been initialized",
    b"CUDA driver version is insufficient",
    b"no pinned memory pool",
)
"""Lines that Triton writes as errors on every machine without a GPU, although nothing is wrong."""

NOTHING: Mapping[str, subprocess.Popen[bytes]] = MappingProxyType({})
NEVER = Stop()


class Triton:
    """Runs tritonserver for the length of a ``with`` block.

    Attributes:
        environment: The folder that its Python backend makes in /tmp, if it is known.

    Example:
        with Triton(Settings()) as triton:
            triton.wait_until_ready(timeout=60)
            triton.tritonserver.wait()
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._backends: tempfile.TemporaryDirectory[str] | None = None
        self._reaper: process.Reaper | None = None
        self._lock: int | None = None
        self._ready = False
        self.environment: Path | None = None
        self._environments: set[Path] = set()
        # Unique, because one process may run several, and each removes only its own files.
        self._prefix = OWNED_PREFIX.format(pid=os.getpid()) + secrets.token_hex(3) + "-"

    def __enter__(self) -> Triton:
        self.start()
        return self

    def start(self) -> None:
        """Starts the process.

        Raises:
            ServerError: A port is taken, the model is missing, or Triton is not installed.
        """
        _check_repository(self.settings.model_repository)
        self.settings.check_tls()
        _check_ports(self.settings)
        installed = installation.find()
        remove_stale_files()
        self._ready = False
        self._environments = environments()
        try:
            self._lock = claim(self._prefix)
            self._reaper = process.Reaper(self._prefix, STOP_SECONDS, self._lock)
            self._backends = tempfile.TemporaryDirectory(prefix=self._prefix)
            backends = installed.backend_folder(Path(self._backends.name))
            counts = instances(
                self.settings.model_repository.resolve(),
                self.settings.decoders,
                in_python=installed.stub is not None,
            )
            arguments = self._arguments(backends, self._repository(counts), _pool_bytes(counts))
            self._process = subprocess.Popen(
                [str(installed.binary), *arguments, *installed.arguments],
                env=_environment(installed, os.environ),
                # The wheel's Python backend ignores PYTHONPATH, but imports from here.
                cwd=installation.ROOT,
                # A session of its own, so that Ctrl-C reaches only this process, which ends Triton.
                start_new_session=True,
                preexec_fn=process.die_with_parent,
                stderr=subprocess.PIPE,
            )
            self._reaper.watch(self._process.pid)
            threading.Thread(target=_relay, args=[self._process.stderr], daemon=True).start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        return self.tritonserver.pid

    @property
    def tritonserver(self) -> subprocess.Popen[bytes]:
        """The running tritonserver process."""
        if self._process is None:
            raise ServerError("Triton has not been started: use `with Triton(settings)`")
        return self._process

    def is_ready(self) -> bool:
        """Whether every model answers."""
        url = f"{self.settings.http_url}/v2/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_until_ready(
        self,
        timeout: float,
        beside: Mapping[str, subprocess.Popen[bytes]] = NOTHING,
        stop: Stop = NEVER,
    ) -> None:
        """Blocks until every model answers.

        Args:
            timeout: Longest wait, in seconds.
            beside: Other parts of the service, by name, that must keep running.
            stop: Ends the wait.

        Raises:
            ServerError: A part ended, or Triton was not ready in time.
            StopRequested: ``stop`` was told to stop.
        """
        deadline = time.monotonic() + timeout
        parts = {"Triton": self.tritonserver, **beside}
        while not self.is_ready():
            stop.check()
            for name, part in parts.items():
                if part.poll() is not None:
                    raise process.ended(name, part, "while starting")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"Triton was not ready after {timeout:.0f} s: its own lines above may say "
                    "why, and --verbose shows more"
                )
            time.sleep(0.1)
        self._ready = True
        self._note_environment()

    def kill(self) -> None:
        """Kills Triton, as a crash would; call `stop` afterwards to clean up."""
        if self._process is not None:
            process.kill(self._process)

    def stop(self, stop: Stop = NEVER) -> None:
        """Ends Triton and every process it started, and removes their files.

        Accepted requests are answered first, unless ``stop`` is hurried or Triton is not ready yet.
        """
        running, self._process = self._process, None
        if running is not None and self._ready:
            process.end(running, "Triton", STOP_SECONDS, stop)
        elif running is not None:
            process.kill(running)
        if self.environment is not None:
            remove(self.environment)
            self.environment = None
        remove_environments()
        if self._backends is not None:
            self._backends.cleanup()
        remove_files(self._prefix)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._reaper is not None:
            self._reaper.release()
            self._reaper = None

    def _note_environment(self) -> None:
        """Finds the folder that the Python backend made, unless another Triton made one too."""
        made = environments() - self._environments
        if len(made) == 1 and self._reaper is not None:
            [self.environment] = made
            self._reaper.own(self.environment)

    def _repository(self, counts: Mapping[str, int]) -> Path:
        assert self._backends is not None
        folder = Path(self._backends.name) / "models"
        folder.mkdir()
        own = self.settings.model_repository.resolve()
        return with_instances(own, counts, folder)

    def _arguments(self, backends: Path, repository: Path, pool: int) -> list[str]:
        return [
            f"--model-repository={repository}",
            *self.settings.arguments(),
            f"--backend-directory={backends}",
            f"--exit-timeout-secs={DRAIN_SECONDS}",
            *tracing.triton_arguments(tracing.traces_url()),
            # These apply to all backends that run in Python, whatever their name.
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--backend-config=python,shm-default-byte-size={pool}",
        ]


def _check_repository(repository: Path) -> None:
    if not repository.is_dir():
        raise ServerError(f"the model repository {repository} does not exist")
    if not (repository / "encoder" / "config.pbtxt").is_file():
        raise ServerError(
            f"the model repository {repository} holds no exported model: run `make export`"
        )


def _pool_bytes(counts: Mapping[str, int]) -> int:
    free = shutil.disk_usage(SHM).free
    # The timeline has one process.
    pools = sum(({ENCODER: 1} | dict(counts)).values()) + 1 + SPARE_POOLS
    if free < pools * LEAST_POOL_BYTES:
        least = pools * LEAST_POOL_BYTES / 2**20
        raise ServerError(
            f"{SHM} has {free / 2**20:.1f} MB free, and the service needs at least {least:.0f} MB: "
            "make it larger (in a container with --shm-size=1g), or see what fills it"
        )
    return min(POOL_BYTES, free // pools)


def _check_ports(settings: Settings) -> None:
    for option, (host, port) in settings.addresses().items():
        with socket.socket() as probe:
            # As servers do, so that a port in TIME_WAIT does not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ServerError(
                    f"cannot listen on {host}:{port} ({error.strerror}): end what uses it, or "
                    f"choose another port, for example make run ARGS='--{option}-port {port + 10}'"
                ) from error


def _environment(installed: installation.Installation, base: Mapping[str, str]) -> dict[str, str]:
    environment = dict(base)
    # The stub embeds Python and finds its home through PATH, which must lead to this environment.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", "")])
    # The models import what they share from audio/.
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(installation.ROOT), base.get("PYTHONPATH")])
    )
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    # Otherwise ONNX Runtime's wheel reports its use to its makers.
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    if installed.libpython is not None:
        paths = [str(installed.libpython), base.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _relay(stream: IO[bytes]) -> None:
    """Logs Triton's lines, except those that would only cause alarm."""
    for line in stream:
        if not any(noise in line for noise in NO_GPU_NOISE):
            text = line.decode(errors="replace").rstrip()
            head = HEAD.match(text)
            # Without a head it comes from elsewhere, such as a traceback of Python's.
            level = LEVELS[head[1]] if head else logging.WARNING
            log.log(level, "%s", text[head.end() :] if head else text)
