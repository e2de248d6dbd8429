"""Finds the Triton of this machine: NVIDIA's container, or the nvidia-pytriton wheel.

The wheel is only unpacked files to us: PyTriton's own API is not used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from server.errors import ServerError

CONTAINER = Path("/opt/tritonserver")
"""Where NVIDIA's container has Triton."""

ROOT = Path(__file__).parents[1]
OWN_BACKENDS = ROOT / "server" / "backends"


@dataclass(frozen=True)
class Installation:
    """Where the parts of a Triton are.

    Attributes:
        binary: The tritonserver executable.
        backends: Folder of the backends.
        stub: The Python backend's process for the running Python, if it must be placed beside each
            backend that runs in Python; None where Triton's own backends are complete.
        libpython: Folder of the shared libpython that the stub links, None for the system's own.
        arguments: Further arguments of tritonserver.
    """

    binary: Path
    backends: Path
    stub: Path | None = None
    libpython: Path | None = None
    arguments: tuple[str, ...] = ()

    def backend_folder(self, folder: Path) -> Path:
        """What ``--backend-directory`` expects; an incomplete one is completed in ``folder``.

        Triton looks for the stub beside each backend that runs in Python. The stub is a link,
        because it finds its libraries relative to the wheel. All else is copied, because Triton
        refuses backends whose files are elsewhere.
        """
        if self.stub is None:
            return self.backends
        own = [path for path in OWN_BACKENDS.iterdir() if (path / "model.py").is_file()]
        for source in (self.backends / "python", *own):
            target = folder / source.name
            target.mkdir()
            for path in source.iterdir():
                if path.is_file() and path.name != self.stub.name:
                    shutil.copy2(path, target)
            (target / self.stub.name).symlink_to(self.stub)
        return folder


def find() -> Installation:
    """The container's Triton if there is one, or else the wheel's.

    Raises:
        ServerError: There is neither, or the wheel does not fit this Python.
    """
    if in_container():
        return Installation(CONTAINER / "bin" / "tritonserver", CONTAINER / "backends")
    return _find_wheel()


def in_container() -> bool:
    """Whether this is NVIDIA's container."""
    return (CONTAINER / "bin" / "tritonserver").is_file()


def _find_wheel() -> Installation:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            "the tritonserver of the nvidia-pytriton wheel is not installed: run `make` on Linux "
            "(x86-64 or aarch64), or use NVIDIA's Triton container on any other platform"
        )
    root = Path(spec.submodule_search_locations[0], "tritonserver")
    binary = root / "bin" / "tritonserver"
    if not binary.is_file():
        raise ServerError(
            f"nvidia-pytriton has no tritonserver at {binary}: this platform ({sys.platform}) is "
            "not supported, use NVIDIA's Triton container"
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stubs = root / "python_backend_stubs"
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in stubs.iterdir()))
        raise ServerError(
            f"Triton's Python backend has no stub for Python {version}: make the virtual "
            f"environment with one of {known}"
        )
    # The wheel has only a part of DCGM, which Triton needs for the metrics of a GPU.
    arguments = ("--allow-gpu-metrics=false",)
    return Installation(binary, root / "backends", stub, _find_libpython(), arguments)


def _find_libpython() -> Path | None:
    name = sysconfig.get_config_var("INSTSONAME")
    folder = sysconfig.get_config_var("LIBDIR")
    if not name or ".so" not in name:
        name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    if folder and Path(folder, name).is_file():
        return Path(folder)
    try:
        ctypes.CDLL(name)
    except OSError as error:
        raise ServerError(
            f"Triton's Python backend needs the shared library {name}, which is neither in "
            f"{folder} nor in the system's library path: install it (Debian: libpython"
            f"{sys.version_info.major}.{sys.version_info.minor}; pyenv: rebuild Python with "
            "PYTHON_CONFIGURE_OPTS=--enable-shared)"
        ) from error
    return None
