"""Malformed requests to every model, over both protocols.

Each input is a good request with a few mutations of its fields, its bytes, or both. Good requests
between them must still get the same answers, and no process may die. The seed and an input's number
reproduce the request.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.utils import serialize_byte_tensor

from benchmarks.launch import below
from benchmarks.service import part_name
from emotion2vec_client import Client
from server.triton import Triton
from tests.conftest import SAMPLES

HAPPY = SAMPLES / "short.wav"
TIMEOUT = 20.0
CHECK_EVERY = 25
TYPES = ("FP32", "INT32", "BYTES", "FP64", "BOOL", "INT8", "FP16", "UINT64", "", "NO SUCH")
SIZES = (-1, 0, 1, 2, 3, 320, 65_535, 2**31 - 1, 2**31, 2**40, 2**62)
NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f")
METHOD = "/inference.GRPCInferenceService/ModelInfer"

Tensors = dict[str, tuple[str, np.ndarray]]


@dataclass
class Outcome:
    """The results of a fuzzing run.

    Attributes:
        statuses: How often each status came, by protocol.
        findings: What should not have happened, one sentence each.
    """

    statuses: Counter[str]
    findings: list[str]


def good_requests(client: Client) -> dict[str, Tensors]:
    """A valid request for each model."""
    data = np.array([[HAPPY.read_bytes()]], np.object_)
    heard = client.decode(HAPPY)
    types = {"float32": "FP32", "int32": "INT32"}
    clip = {name: (types[str(each.dtype)], each) for name, each in heard.inputs.items()}
    files = ("emotion2vec", "emotion2vec_frame", "preprocess", "emotion2vec_timeline")
    return {"encoder": clip, **{name: {"audio": ("BYTES", data)} for name in files}}


def raw(tensor: np.ndarray) -> bytes:
    """A tensor's bytes as KServe sends them."""
    if tensor.dtype == np.object_:
        return bytes(serialize_byte_tensor(tensor).item())
    return tensor.tobytes()


def mutated_bytes(draw: random.Random, data: bytes) -> bytes:
    """Changes a few bytes anywhere."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            changed[at : at + 1] = draw.randbytes(1)
        elif kind == 1:
            del changed[at : at + draw.randint(1, 64)]
        elif kind == 2:
            changed[at:at] = draw.randbytes(draw.randint(1, 64))
        else:
            changed[at : at + 4] = draw.choice(NUMBERS)
    return bytes(changed)


def grpc_body(draw: random.Random, name: str, tensors: Tensors) -> bytes:
    """A gRPC request, serialised."""
    request = ModelInferRequest(model_name=name)
    for key, (datatype, tensor) in tensors.items():
        request.inputs.add(name=key, datatype=datatype, shape=tensor.shape)
        request.raw_input_contents.append(raw(tensor))
    for _ in range(draw.randint(0, 3)):
        entry = draw.choice(request.inputs)
        index = draw.randrange(len(request.raw_input_contents) or 1)
        kind = draw.randrange(9)
        if kind == 0:
            entry.shape[draw.randrange(len(entry.shape) or 1) :] = [draw.choice(SIZES)]
        elif kind == 1:
            entry.datatype = draw.choice(TYPES)
        elif kind == 2 and request.raw_input_contents:
            data = request.raw_input_contents[index]
            request.raw_input_contents[index] = mutated_bytes(draw, data)
        elif kind == 3 and request.raw_input_contents:
            del request.raw_input_contents[index]
        elif kind == 4:
            entry.name = draw.choice(("", "waveform", "frames", "x" * 1000))
        elif kind == 5:
            entry.contents.int_contents.extend([draw.choice((-1, 0, 2**31 - 1))])
        elif kind == 6:
            request.outputs.add(name=draw.choice(("scores", "frame_scores", "segments", "x", "")))
        elif kind == 7:
            key = draw.choice(("binary_data_size", "window", "progress_of", "sequence_id", "\n"))
            request.parameters[key].int64_param = draw.choice((-1, 0, 2**62))
        else:
            request.model_version = draw.choice(("1", "2", "-1", "x"))
    body = request.SerializeToString()
    return mutated_bytes(draw, body) if draw.random() < 0.3 else body


def http_body(draw: random.Random, tensors: Tensors) -> tuple[dict[str, str], bytes]:
    """Headers and body of an HTTP request."""
    contents = [raw(tensor) for _, tensor in tensors.values()]
    inputs: list[dict[str, Any]] = [
        {
            "name": key,
            "datatype": kind,
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(content)},
        }
        for (key, (kind, tensor)), content in zip(tensors.items(), contents, strict=True)
    ]
    request: dict[str, Any] = {"inputs": inputs}
    for _ in range(draw.randint(0, 3)):
        entry = draw.choice(inputs)
        kind = draw.randrange(7)
        if kind == 0:
            entry["shape"] = draw.choice(([draw.choice(SIZES)], [1, draw.choice(SIZES)], [], "x"))
        elif kind == 1:
            entry["datatype"] = draw.choice(TYPES)
        elif kind == 2:
            entry["parameters"] = draw.choice(
                ({"binary_data_size": draw.choice(SIZES)}, {}, None, {"shared_memory_region": "x"})
            )
        elif kind == 3:
            entry["data"] = draw.choice(([], [1], [[["x"]]], "x", [None], {"a": 1}))
        elif kind == 4:
            key = draw.choice(("id", "parameters", "outputs", "inputs"))
            request[key] = draw.choice((None, 1, "x", [], {}, [{}], [None], {"window": []}))
        elif kind == 5:
            at = draw.randrange(len(contents))
            contents[at] = mutated_bytes(draw, contents[at])
        else:
            request["outputs"] = [{"name": "scores", "parameters": {"classification": -1}}]
    header = json.dumps(request).encode()
    if draw.random() < 0.3:
        header = mutated_bytes(draw, header)
    length = draw.choice((len(header),) * 6 + (0, 1, len(header) + 1, 2**40, -1))
    headers = {"Inference-Header-Content-Length": str(length)}
    return headers, header + b"".join(contents)


def fuzz(triton: Triton, inputs: int, seed: int) -> Outcome:
    """Sends inputs to a ready server."""
    settings = triton.settings
    outcome = Outcome(Counter(), [])
    alive = stubs(triton)
    address = f"{settings.host}:{settings.grpc_port}"
    with (
        Client(address, timeout=TIMEOUT, retry_seconds=0) as client,
        grpc.insecure_channel(address) as channel,
        httpx.Client(base_url=settings.http_url, timeout=TIMEOUT) as http,
    ):
        requests = good_requests(client)
        expected = dict(client.predict(HAPPY).scores)
        send = channel.unary_unary(METHOD)
        for number in range(inputs):
            draw = random.Random(f"{seed}/{number}")
            name = draw.choice(list(requests))
            tensors = requests[name]
            if draw.random() < 0.5:
                try:
                    send(grpc_body(draw, name, tensors), timeout=TIMEOUT)
                    status = "gRPC OK"
                except grpc.RpcError as error:
                    status = f"gRPC {error.code().name}"
            else:
                headers, body = http_body(draw, tensors)
                try:
                    answer = http.post(f"/v2/models/{name}/infer", headers=headers, content=body)
                    status = f"HTTP {answer.status_code}"
                except httpx.HTTPError as error:
                    status = f"HTTP {type(error).__name__}"
            outcome.statuses[status] += 1
            if status in ("gRPC DEADLINE_EXCEEDED", "gRPC UNAVAILABLE", "HTTP ReadTimeout"):
                outcome.findings.append(f"input {number} to {name}: {status}")
            if number % CHECK_EVERY == 0 or number == inputs - 1:
                found = dict(client.predict(HAPPY).scores)
                if max(abs(found[key] - expected[key]) for key in expected) > 1e-5:
                    outcome.findings.append(f"after input {number} the answers have changed")
                if gone := alive - stubs(triton):
                    outcome.findings.append(f"after input {number} {len(gone)} processes are gone")
                    alive -= gone
    return outcome


def stubs(triton: Triton) -> set[int]:
    """The processes of the Python models, without their decoders, which are replaced at times."""
    models = {"encoder", "preprocess", "emotion2vec_timeline"}
    return {process.pid for process in below(triton.pid) if part_name(process) in models}
