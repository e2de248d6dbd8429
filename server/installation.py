"""Finds the tritonserver that the nvidia-pytriton wheel carries, and lays out its backends.

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

ROOT = Path(__file__).parents[1]
OWN_BACKENDS = ROOT / "server" / "backends"


@dataclass(frozen=True)
class TritonWheel:
    """Where the wheel's parts are.

    Attributes:
        binary: The tritonserver executable.
        python_backend: Folder with libtriton_python.so.
        stub: The Python backend's stub process, built for the running Python.
        libpython: Folder of the shared libpython that the stub links, None for the system's own.
    """

    binary: Path
    python_backend: Path
    stub: Path
    libpython: Path | None

    def lay_out_backends(self, folder: Path) -> None:
        """Fills ``folder`` with what ``--backend-directory`` expects.

        Triton looks for the stub beside each backend that runs in Python. The stub is a link, as
        it finds its libraries relative to the wheel; all else is copied, as Triton refuses
        backends whose files lie elsewhere.
        """
        for name, source in (
            ("python", self.python_backend),
            *(
                (path.name, path)
                for path in OWN_BACKENDS.iterdir()
                if (path / "model.py").is_file()
            ),
        ):
            target = folder / name
            target.mkdir()
            for path in source.iterdir():
                if path.is_file() and path.name != self.stub.name:
                    shutil.copy2(path, target)
            (target / self.stub.name).symlink_to(self.stub)


def find() -> TritonWheel:
    """Locates tritonserver for this Python.

    Raises:
        ServerError: The platform has no wheel, the wheel is not installed, or this Python has no
            stub or no shared library.
    """
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
    return TritonWheel(binary, root / "backends" / "python", stub, _find_libpython())


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
