"""Opens an ONNX file with the runtime that a Triton model configuration asks for.

The backend in this folder and the export's verification both use it, so that a graph is verified
with exactly the runtime, precision and settings that will serve it.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

OPENVINO_PRECISIONS = {"fp16": "f16", "bf16": "bf16", "fp32": "f32"}
"""Values of the accelerator's ``precision`` parameter, and OpenVINO's names for them,
sorted by speed and then by exactness."""

NEEDED = {
    "fp16": {"amx_fp16"},
    "bf16": {"amx_bf16", "avx512_bf16"},
    "int8": {"amx_int8", "avx512_vnni", "avx_vnni"},
}
"""Instructions that compute a precision; any of them is enough. OpenVINO accepts CPUs without them,
but then silently computes an fp16 graph in bf16, which is less exact."""


CUDA = "CUDAExecutionProvider"

INSTALL = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
)

NO_CUDA = f"if ONNX Runtime's own lines name a missing library, CUDA is incomplete: {INSTALL}"

SPOILED = re.compile(r"CUDA failure \d{3,}:")
"""How ONNX Runtime's cuda_call.cc tells an error after which CUDA computes nothing more in this
process, such as 700. Memory that is used up is 2, and a wrong argument 1."""

KEPT_SHAPES = 16
"""Cached kernels for each kind of operation. Nearly every batch has a new shape, so old kernels are
rarely used again. OpenVINO's default caches thousands, which took 1 GB after 2,400 batches."""


UNWRITTEN = -1e30
"""What no output contains: it stands in the first one until an inference has written it."""


class SpoiledError(RuntimeError):
    """The runtime can compute nothing more in this process."""


class Session(Protocol):
    """A loaded graph."""

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Computes the named outputs.

        Raises:
            SpoiledError: The runtime failed, and only a new process can compute again.
            RuntimeError: The runtime refused the inputs or failed.
        """
        ...


def is_native(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has instructions for a precision."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    found = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return precision not in NEEDED or bool(NEEDED[precision] & found)


def native_precisions(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The precisions that this CPU computes natively, sorted by speed, then by exactness.

    Without int8, in which a graph is only served if somebody asks for it.
    """
    return [name for name in OPENVINO_PRECISIONS if is_native(name, cpuinfo)]


class OpenVinoSession:
    """OpenVINO on the CPU, in the precision that the configuration names."""

    def __init__(self, path: Path, precision: str, threads: int | None):
        # OpenVINO reports each import to its makers, unless this package is missing.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        if precision not in OPENVINO_PRECISIONS:
            known = ", ".join(OPENVINO_PRECISIONS)
            raise ValueError(f"unknown openvino precision {precision!r}: use one of {known}")
        native = native_precisions()
        if precision == "bf16" and precision not in native:
            raise ValueError("this CPU cannot compute in bf16: export with --precision fp32")
        if precision == "fp16" and precision not in native:
            # Its weights still take only half the size.
            precision = "fp32"
        core = openvino.Core()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_SHAPES,
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        # Kept, because an export may have replaced the file by the time it is compiled again.
        model = core.read_model(str(path))
        self._compile: Callable[[], Any] = lambda: core.compile_model(
            model, "CPU", settings
        ).create_infer_request()
        self._request = self._compile()
        self._data, self._packed = Path(f"{path.resolve()}.data"), False
        self._outputs = {port.get_any_name(): index for index, port in enumerate(model.outputs)}

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        try:
            self._infer(inputs)
        except RuntimeError:
            # An inference that fails halfway leaves shapes behind that make later, valid ones fail.
            self._request, self._packed = self._compile(), False
            raise
        if not self._packed:
            # OpenVINO packs the weights at the first inference, and then reads its own copy.
            _release_mapped_pages(self._data)
            self._packed = True
        # Copied, because the next inference overwrites the request's own output buffers.
        return {
            name: self._request.get_output_tensor(self._outputs[name]).data.copy()
            for name in outputs
        }

    def _infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        # With one thread, OpenVINO 2026.4 reports no failure, and its outputs are still those of
        # the inference before: somebody else's answer.
        self._request.get_output_tensor(0).data[...] = UNWRITTEN
        self._request.infer(dict(inputs), share_inputs=True)
        written = self._request.get_output_tensor(0).data
        if not written.size or (written == UNWRITTEN).any():
            raise RuntimeError("OpenVINO could not compute these inputs")


def _release_mapped_pages(path: Path) -> None:
    """Drops a mapped file from resident memory; pages that are read again come from disk."""
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        if name == [str(path)] and "w" not in permissions:
            start, end = (int(address, 16) for address in addresses.split("-"))
            libc.madvise(start, end - start, mmap.MADV_DONTNEED)


class OrtSession:
    """ONNX Runtime with its own kernels, for the CPU or for CUDA."""

    def __init__(
        self,
        path: Path,
        threads: int | None,
        provider: str,
        provider_options: Mapping[str, str] | None = None,
    ):
        import onnxruntime

        if provider not in onnxruntime.get_available_providers():
            raise ValueError(
                f"the installed ONNX Runtime has no {provider}, so the package onnxruntime is "
                f"where onnxruntime-gpu should be: {INSTALL}"
            )
        if provider == CUDA:
            # Finds CUDA's libraries also where pip has installed them.
            onnxruntime.preload_dlls()
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # They have no base class of their own.
        self._errors = tuple(
            kind
            for kind in vars(state).values()
            if isinstance(kind, type) and issubclass(kind, Exception)
        )
        options = onnxruntime.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
        providers = [(provider, dict(provider_options or {}))]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except self._errors as error:
            # Without CUDA's libraries, ONNX Runtime falls back to the CPU, which cannot compute a
            # graph that was exported for CUDA, and then it names only an operator.
            advice = f"; {NO_CUDA}" if provider == CUDA else ""
            raise RuntimeError(f"{error}{advice}") from error
        if self._session.get_providers()[0] != provider:
            raise ValueError(f"ONNX Runtime cannot start its {provider}; {NO_CUDA}")

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        try:
            found = self._session.run(list(outputs), dict(inputs))
        except self._errors as error:
            kind = SpoiledError if SPOILED.search(str(error)) else RuntimeError
            raise kind(str(error)) from error
        return dict(zip(outputs, found, strict=True))


def open_session(path: Path, config: Mapping[str, Any], device: int = 0) -> Session:
    """Opens a graph as a Triton model configuration says.

    Instances of KIND_GPU get ONNX Runtime's CUDA provider, with the parameters of
    ``optimization.execution_accelerators.gpu_execution_accelerator``. On the CPU it honours
    ``optimization.execution_accelerators.cpu_execution_accelerator`` (``openvino`` with its
    parameter ``precision``; ONNX Runtime where there is none) and the parameter
    ``intra_op_thread_count``.

    Args:
        path: The ONNX file; its external data lies beside it.
        config: The model configuration, as Triton's JSON.
        device: Number of the GPU; without meaning for a CPU.

    Raises:
        ValueError: The configuration asks for something this machine or this code lacks.
        RuntimeError: The runtime cannot load the graph.
    """
    threads = config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value")
    threads = int(threads) if threads else None
    if any(group.get("kind") == "KIND_GPU" for group in config.get("instance_group", [])):
        accelerators = _accelerators(config, "gpu")
        if [name for name, _ in accelerators] not in ([], ["cuda"]):
            asked = ", ".join(name for name, _ in accelerators)
            raise ValueError(
                f"gpu_execution_accelerator asks for {asked}: this backend knows only cuda"
            )
        options = {"device_id": str(device), **dict(accelerators).get("cuda", {})}
        return OrtSession(path, threads, CUDA, options)
    accelerators = _accelerators(config, "cpu")
    if not accelerators:
        return OrtSession(path, threads, "CPUExecutionProvider")
    name, parameters = accelerators[0]
    if name != "openvino" or len(accelerators) > 1:
        asked = ", ".join(name for name, _ in accelerators)
        raise ValueError(
            f"cpu_execution_accelerator asks for {asked}: this backend knows only openvino"
        )
    return OpenVinoSession(path, parameters.get("precision", "fp32"), threads)


def _accelerators(config: Mapping[str, Any], device: str) -> list[tuple[str, dict[str, str]]]:
    entries: Iterable[Mapping[str, Any]] = (
        config.get("optimization", {})
        .get("execution_accelerators", {})
        .get(f"{device}_execution_accelerator", [])
    )
    return [(entry["name"], entry.get("parameters", {})) for entry in entries]
