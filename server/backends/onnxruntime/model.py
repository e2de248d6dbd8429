"""Triton's onnxruntime backend for machines without NVIDIA's container.

A Python-based backend: Triton loads it for every model whose config.pbtxt says
``backend: "onnxruntime"``, and it reads that configuration the way the native backend does.
It concatenates requests of different lengths where an input allows ragged batches, builds the batch
inputs, and splits the outputs. It has two parameters that the native backend does not have:
``layout`` (layout.py) and ``max_part_elements`` (parts.py). Only the first is about audio.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from server.backends.onnxruntime.layout import Layout, LayoutError
from server.backends.onnxruntime.parts import split
from server.backends.onnxruntime.runtime import SpoiledError, open_session

BATCH_INPUTS: dict[str, Callable[[list[np.ndarray], np.dtype], np.ndarray]] = {
    # Only the shape carries the value; the content is never read.
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda items, dtype: np.zeros(
        max(item.size for item in items), dtype
    ),
    # A row for each item of each request's batch.
    "BATCH_ITEM_SHAPE": lambda items, dtype: np.array(
        [item.shape[1:] for item in items for _ in range(len(item))], dtype
    ),
}


class TritonPythonModel:
    """One model served from its ONNX file."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Leaves the configuration unchanged: it is the contract."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the graph; called once per instance."""
        self.config = json.loads(args["model_config"])
        kind, device = args["model_instance_kind"], int(args["model_instance_device_id"])
        if kind not in ("CPU", "GPU"):
            raise pb_utils.TritonModelException(
                f"model {args['model_name']} asks for KIND_{kind}: this backend knows only "
                "KIND_CPU and KIND_GPU"
            )
        filename = self.config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"], args["model_version"], filename)
        try:
            self.session = open_session(path, self.config, device)
        except (ValueError, RuntimeError, ImportError) as error:
            raise pb_utils.TritonModelException(f"cannot load {path}: {error}") from error

        self.layout = Layout.read(self.config)
        limit = self.config.get("parameters", {}).get("max_part_elements")
        self.max_part_elements = int(limit["string_value"]) if limit else None
        self.inputs = {item["name"]: item for item in self.config["input"]}
        self._buffers: dict[str, np.ndarray] = {}
        self.outputs = [item["name"] for item in self.config["output"]]
        self.batch_inputs = self.config.get("batch_input", [])
        for item in self.batch_inputs:
            if item["kind"] not in BATCH_INPUTS:
                raise pb_utils.TritonModelException(f"batch input kind {item['kind']} is unknown")
        # For each output the ragged input whose shape gives the number of rows of a request.
        self.scattered = {
            name: item["source_input"][0]
            for item in self.config.get("batch_output", [])
            for name in item["target_name"]
        }

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request as soon as its part of the batch is computed."""
        responses: list[Any] = [None] * len(requests)
        good: dict[int, dict[str, np.ndarray]] = {}
        for number, request in enumerate(requests):
            tensors = {
                name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in self.inputs
            }
            try:
                if self.layout is not None:
                    self.layout.check(tensors)
                good[number] = tensors
            except LayoutError as error:
                responses[number] = refusal(str(error), pb_utils.TritonError.INVALID_ARG)
        numbers = list(good)
        sizes = [max(tensor.size for tensor in tensors.values()) for tensors in good.values()]
        parts = split(sizes, self.max_part_elements)
        for part in parts:
            chosen = [numbers[position] for position in part]
            answers = self._answer([requests[n] for n in chosen], [good[n] for n in chosen])
            for number, answer in zip(chosen, answers, strict=True):
                if part is parts[-1]:
                    responses[number] = answer
                else:
                    send(requests[number], answer)
        return responses

    def _answer(self, requests: list[Any], tensors: list[dict[str, np.ndarray]]) -> list[Any]:
        """Runs requests together and, if that fails, one by one, so that bad tensors fail alone.

        It raises nothing: some requests of the batch may be answered already, and Triton crashes
        with SIGSEGV if such a batch fails.
        """
        try:
            return self._run(requests, tensors)
        except SpoiledError as error:
            # Refusals would look like a service that works; Triton starts a process that ended.
            pb_utils.Logger.log_error(f"this process ends, because its GPU failed: {error}")
            os._exit(1)
        except (ValueError, RuntimeError, MemoryError, pb_utils.TritonModelException) as error:
            if len(requests) > 1:
                return [
                    self._answer([request], [item])[0]
                    for request, item in zip(requests, tensors, strict=True)
                ]
            return [refusal(f"the graph cannot compute this: {' '.join(str(error).split())}")]

    def _run(self, requests: list[Any], tensors: list[dict[str, np.ndarray]]) -> list[Any]:
        batch = {
            name: self._joined(name, [item[name].ravel() for item in tensors])
            if spec["allow_ragged_batch"]
            else np.concatenate([item[name] for item in tensors])
            for name, spec in self.inputs.items()
        }
        for spec in self.batch_inputs:
            items = [item[spec["source_input"][0]] for item in tensors]
            dtype = pb_utils.triton_string_to_numpy(spec["data_type"])
            for name in spec["target_name"]:
                batch[name] = BATCH_INPUTS[spec["kind"]](items, dtype)

        wanted = [set(request.requested_output_names()) for request in requests]
        names = [name for name in self.outputs if any(name in each for each in wanted)]
        results = self.session.run(batch, names)

        responses = []
        offsets = dict.fromkeys(names, 0)
        for item, wants in zip(tensors, wanted, strict=True):
            outputs = []
            for name in names:
                part, offsets[name] = self._take(name, results[name], offsets[name], item)
                if name in wants:
                    outputs.append(pb_utils.Tensor(name, part))
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses

    def _joined(self, name: str, items: list[np.ndarray]) -> np.ndarray:
        """Items of one input end to end, in memory that the next batch overwrites.

        With new memory for each batch, the kernel's clearing of pages takes as long as the copy.
        """
        if len(items) == 1:
            return items[0]
        size = sum(item.size for item in items)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, items[0].dtype)
        return np.concatenate(items, out=buffer[:size])

    def _take(
        self, name: str, result: np.ndarray, offset: int, tensors: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, int]:
        """The rows of ``result`` for one request, and the offset of the next request's rows."""
        source = self.scattered.get(name)
        if source is None:
            rows = next(iter(tensors.values())).shape[0]
            return result[offset : offset + rows], offset + rows
        shape = tensors[source].shape
        rows = int(np.prod(shape))
        part = result[offset : offset + rows]
        return part.reshape(*shape, *result.shape[1:]), offset + rows


def refusal(message: str, *code: int) -> Any:
    """The response that carries an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, *code))


def send(request: Any, response: Any) -> None:
    """Answers a request before its batch ends."""
    request.get_response_sender().send(
        response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    )
