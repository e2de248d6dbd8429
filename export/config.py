"""Writes the encoder's config.pbtxt from the contract, for the target of an export."""

from __future__ import annotations

import json
from typing import Any

from audio.layout import EXTRA_SLOTS, SAMPLE_RATE, SLOT, frame_count, slot_count
from export import contract
from export.contract import LONGEST, MAX_SAMPLES, Tensor
from export.targets import TARGETS

ENCODER = "encoder"
WARMUP_SECONDS = (3, 10)
ACCELERATORS = {
    "cpu": """\
optimization {{
  execution_accelerators {{
    cpu_execution_accelerator [
      {{ name: "openvino" parameters {{ key: "precision" value: "{precision}" }} }}
    ]
  }}
}}
""",
    "cuda": """\
optimization {{
  execution_accelerators {{
    gpu_execution_accelerator [
      # Otherwise CUDA rounds fp32 to TF32, which changes scores by up to 1.5e-3.
      {{ name: "cuda" parameters {{ key: "use_tf32" value: "0" }} }}
    ]
  }}
}}
""",
    "tensorrt": "",
}

PART = """\
# A batch is computed in parts, the shortest clips first, and each part is answered once it is done.
# In a part, the number of clips times the samples of the longest one is at most this.
parameters {{ key: "max_part_elements" value {{ string_value: "{}" }} }}
"""


def encoder_config(card: dict[str, Any]) -> str:
    """The encoder's config.pbtxt.

    Args:
        card: The model card, which becomes part of the configuration, so that clients find it.
            Its ``target``, ``precision`` and ``embed_dim`` decide the rest.
    """
    target = TARGETS[card["target"]]
    accelerators = ACCELERATORS[card["target"]].format(precision=_computed(card["precision"]))
    part = PART.format(target.part_seconds * SAMPLE_RATE) if target.part_seconds else ""
    delay = f"max_queue_delay_microseconds: {target.queue_delay} " if target.queue_delay else ""
    outputs = [_resolve(tensor, card["embed_dim"]) for tensor in contract.ENCODER_OUTPUTS]
    text = json.dumps(json.dumps(card, ensure_ascii=True, separators=(",", ":")))
    return f"""# Written by `python -m export`; the next export replaces it.
name: "{ENCODER}"
backend: "{target.backend}"
max_batch_size: {target.max_batch_size}

input [
{_declare(contract.ENCODER_INPUTS)}
]
output [
{_declare(outputs)}
]

# Triton makes these from the requests' own tensors. The shape of the first is the length of the
# longest clip in the batch. The others say which part of the batch is whose.
batch_input [
  {{
    kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE
    target_name: [ "{LONGEST}" ]
    data_type: TYPE_FP32
    source_input: [ "{contract.WAVEFORM.name}" ]
  }},
{_shapes()}
]
# The graph returns frames end to end; each request gets as many rows as it has frames.
batch_output [
{_scatter(outputs)}
]

dynamic_batching {{
  {delay}default_queue_policy {{
    max_queue_size: {contract.QUEUE_SIZE}
    timeout_action: REJECT
    default_timeout_microseconds: {contract.QUEUE_SECONDS * 1_000_000}
  }}
}}
instance_group [ {{ count: 1 kind: {target.kind} }} ]
{accelerators}
# A runtime is slow with the first lengths it meets; no user should wait for that.
model_warmup [
{_warmup()}
]

# The layout of every clip's tensors: a request that breaks it is refused, because its answer would
# mean nothing. It cannot change its neighbours' answers.
parameters {{ key: "layout" value {{ string_value: {_layout()} }} }}
{part}parameters {{ key: "model_card" value {{ string_value: {text} }} }}
"""


def _computed(precision: str) -> str:
    """What the runtime computes in; for int8, everything but the products in int8."""
    if precision != "int8":
        return precision
    # Imported here, because the contract test reads configurations without any runtime.
    from server.backends.onnxruntime.runtime import is_native

    return "bf16" if is_native("bf16") else "fp32"


def _layout() -> str:
    values = {
        "extra_slots": EXTRA_SLOTS,
        "max_slots": slot_count(MAX_SAMPLES),
    }
    return json.dumps(json.dumps(values, separators=(",", ":")))


def _shapes() -> str:
    return ",\n".join(
        f'  {{ kind: BATCH_ITEM_SHAPE target_name: [ "{name}" ] data_type: TYPE_INT32 '
        f'source_input: [ "{tensor.name}" ] }}'
        for name, tensor in contract.SHAPES.items()
    )


def _resolve(tensor: Tensor, embed_dim: int) -> Tensor:
    """Fills in the width of an embedding, which the contract leaves to the checkpoint."""
    if tensor not in (contract.EMBEDDING, contract.FRAME_EMBEDDING):
        return tensor
    dims = (*tensor.dims[:-1], embed_dim)
    return Tensor(tensor.name, tensor.data_type, dims, tensor.ragged, tensor.scattered_by)


def _declare(tensors: tuple[Tensor, ...] | list[Tensor]) -> str:
    lines = []
    for tensor in tensors:
        dims = ", ".join(str(size) for size in tensor.dims)
        extra = " allow_ragged_batch: true" if tensor.ragged else ""
        if tensor == contract.SCORES:
            extra = ' label_filename: "labels.txt"'
        lines.append(
            f'  {{ name: "{tensor.name}" data_type: {tensor.data_type} dims: [ {dims} ]{extra} }}'
        )
    return ",\n".join(lines)


def _scatter(tensors: list[Tensor]) -> str:
    return ",\n".join(
        f'  {{ target_name: [ "{tensor.name}" ] kind: BATCH_SCATTER_WITH_INPUT_SHAPE '
        f'source_input: [ "{tensor.scattered_by}" ] }}'
        for tensor in tensors
        if tensor.scattered_by
    )


def _warmup() -> str:
    samples = []
    for seconds in WARMUP_SECONDS:
        length = seconds * SAMPLE_RATE
        sizes = {
            contract.WAVEFORM: f"{slot_count(length)}, {SLOT}",
            contract.FRAMES: f"{frame_count(length)}",
        }
        lines = "\n".join(
            f'    inputs {{ key: "{tensor.name}" '
            f"value {{ data_type: {tensor.data_type} dims: [ {size} ] zero_data: true }} }}"
            for tensor, size in sizes.items()
        )
        samples.append(f'  {{\n    name: "{seconds} s" batch_size: 1\n{lines}\n  }}')
    return ",\n".join(samples)
