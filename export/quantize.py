"""int8 for the linear layers of the blocks: SmoothQuant, with one scale per output channel.

Their products take eight-bit numbers. Norms, attention and GELU stay as they are, and so does the
frontend: its LayerNorms amplify what rounding does to silence.

In the ONNX file a product reads ``QuantizeLinear`` and ``DequantizeLinear`` (QDQ), which OpenVINO
and ONNX Runtime turn into integer kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from export.batch import pack
from export.errors import ExportError
from export.graph import PackedEncoder
from export.verify import TOLERANCES

ALPHA = 0.6
"""How much of the activations' range moves into the weights: 0 none, 1 all."""

LARGEST = 63
"""The largest weight. Without VNNI, an x86 CPU adds two products of eight-bit numbers in 16 bits,
where 2 * 255 * 127 does not fit; and a model may be moved to another machine."""

MOST_ERROR = 0.05
"""A product whose relative error (L2) is larger stays in floating point."""

MOST_CLIPS = 128
"""Recordings that calibrate; more change little."""

MOST_SAMPLES = 160_000
"""Ten seconds of each recording are enough."""


@dataclass(frozen=True)
class Quantized:
    """What `quantize` did.

    Attributes:
        layers: Names of the layers in int8.
        kept: Names of the layers in floating point, and each one's relative error in int8.
    """

    layers: tuple[str, ...]
    kept: dict[str, float]


class QuantizedLinear(nn.Module):
    """A linear layer that rounds its input and its weight to eight bits.

    Before that, it divides the input's channels by factors and multiplies the weight's by them
    (SmoothQuant, Xiao et al. 2023, equation 4): a few channels of a transformer are much larger
    than the rest, and one scale for all would leave the rest few of the 256 steps.

    Args:
        linear: The layer.
        low: float32 [in_features], the smallest value seen in each channel of its input.
        high: The same, the largest.
        alpha: See ``ALPHA``; with 0, no channel is divided.
    """

    def __init__(
        self,
        linear: nn.Linear,
        low: Tensor,
        high: Tensor,
        alpha: float = ALPHA,
    ):
        super().__init__()
        seen = torch.maximum(low.abs(), high.abs()).clamp_min(1e-5)
        weights = linear.weight.abs().amax(0).clamp_min(1e-5)
        smooth = (seen**alpha / weights ** (1 - alpha)) if alpha else torch.ones_like(seen)
        self.inverse = nn.Parameter(1 / smooth, requires_grad=False)
        # Zero must be a step of its own, as quantized zeros stand for nothing.
        least = min(float((low / smooth).min()), 0.0)
        most = max(float((high / smooth).max()), 0.0)
        step = max((most - least) / 255, 1e-8)
        self.step = nn.Parameter(torch.tensor(step), requires_grad=False)
        self.register_buffer("zero", torch.tensor(round(-least / step), dtype=torch.uint8))
        weight = linear.weight * smooth
        scale = (weight.abs().amax(1) / LARGEST).clamp_min(1e-12)
        rounded = (weight / scale.unsqueeze(1)).round().to(torch.int8)
        # [in, out], as the product needs it: a runtime does not look for int8 behind a Transpose.
        self.register_buffer("weight", rounded.t().contiguous())
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., in_features] to [..., out_features]."""
        product = self._rounded(x * self.inverse) @ self._dequantized()
        return product if self.bias is None else product + self.bias

    def _rounded(self, x: Tensor) -> Tensor:
        zero = self.get_buffer("zero")
        if torch.onnx.is_in_onnx_export():
            small = _node("QuantizeLinear", (x, self.step, zero), x.shape, torch.uint8)
            return _node("DequantizeLinear", (small, self.step, zero), x.shape, torch.float32)
        return torch.fake_quantize_per_tensor_affine(x, self.step, zero.int(), 0, 255)

    def _dequantized(self) -> Tensor:
        weight = self.get_buffer("weight")
        if torch.onnx.is_in_onnx_export():
            shape = weight.shape
            return _node("DequantizeLinear", (weight, self.scale), shape, torch.float32, axis=1)
        return weight * self.scale


def _node(
    name: str,
    inputs: Sequence[Tensor],
    shape: Sequence[int | torch.SymInt],
    dtype: torch.dtype,
    axis: int | None = None,
) -> Tensor:
    return torch.onnx.ops.symbolic(
        name,
        inputs,
        {} if axis is None else {"axis": axis},
        dtype=dtype,
        shape=shape,
        version=PackedEncoder.opset,
    )


def quantize(
    encoder: PackedEncoder,
    clips: Sequence[np.ndarray],
    reached: Callable[[str], None] = lambda position: None,
) -> Quantized:
    """Replaces an encoder's linear layers, except where eight bits change too much.

    First each layer is measured on its own. Then the whole encoder is compared with itself in
    floating point; while it is too far off, a quarter of the layers goes back, those with the
    largest errors first.

    Args:
        encoder: In fp32; changed in place.
        clips: float32 [n] each, 16 kHz: recordings like those that will be recognised.
        reached: Called with what is being computed.

    Raises:
        ExportError: No layer can be replaced.
    """
    chosen = [clip[:MOST_SAMPLES] for clip in clips]
    layers = {
        f"blocks.{name}": layer
        for name, layer in encoder.blocks.named_modules()
        if isinstance(layer, nn.Linear)
    }
    reached(f"the ranges of {len(layers)} layers")
    truth, ranges = _observed(encoder, layers, chosen)
    small = {name: QuantizedLinear(layer, *ranges[name]) for name, layer in layers.items()}
    reached(f"the errors of {len(layers)} layers")
    errors = _corrected(encoder, layers, small, chosen)
    order = sorted((name for name in layers if errors[name] <= MOST_ERROR), key=errors.__getitem__)
    while order:
        for name, layer in layers.items():
            encoder.set_submodule(name, small[name] if name in order else layer)
        reached(f"{len(order)} layers together")
        if _holds(truth, _scores(encoder, chosen)):
            kept = {name: errors[name] for name in layers if name not in order}
            return Quantized(tuple(name for name in layers if name in order), kept)
        order = order[: len(order) * 3 // 4]
    raise ExportError(
        "int8 changes the answers of this checkpoint too much, whichever layer is rounded"
    )


def _scores(encoder: PackedEncoder, clips: Iterable[np.ndarray]) -> np.ndarray:
    """float32 [clips, 9], each clip computed alone."""
    rows = []
    with torch.inference_mode():
        for clip in clips:
            inputs = (torch.from_numpy(array) for array in pack([clip]).inputs().values())
            rows.append(encoder(*inputs)[0][0].numpy())
    return np.stack(rows)


def _observed(
    encoder: PackedEncoder, layers: dict[str, nn.Linear], clips: Sequence[np.ndarray]
) -> tuple[np.ndarray, dict[str, tuple[Tensor, Tensor]]]:
    """The scores, and the range of each channel of each layer's input."""
    ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].flatten(0, -2)
            low, high = rows.amin(0), rows.amax(0)
            if name in ranges:
                low = torch.minimum(low, ranges[name][0])
                high = torch.maximum(high, ranges[name][1])
            ranges[name] = low, high

        return before

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    scores = _scores(encoder, clips)
    for hook in hooks:
        hook.remove()
    return scores, ranges


def _corrected(
    encoder: PackedEncoder,
    layers: dict[str, nn.Linear],
    small: dict[str, QuantizedLinear],
    clips: Sequence[np.ndarray],
) -> dict[str, float]:
    """Corrects the biases; returns the relative error (L2) of each layer, if only it is rounded.

    Rounding moves the mean of a layer's outputs, and later layers add up such shifts. The bias
    takes each output's mean shift away (Nagel et al. 2019, section 4.2).
    """
    shifts, errors, sizes = (dict[str, Tensor]() for _ in range(3))
    rows = dict.fromkeys(layers, 0)

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output = output.flatten(0, -2)
            shift = output - small[name](inputs[0]).flatten(0, -2)
            rows[name] += len(output)
            for total, value in ((shifts, shift), (errors, shift**2), (sizes, output**2)):
                total[name] = total.get(name, 0.0) + value.sum(0)

        return after

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    _scores(encoder, clips)
    for hook in hooks:
        hook.remove()
    relative = {}
    for name, layer in small.items():
        mean = shifts[name] / rows[name]
        layer.bias = nn.Parameter(mean if layer.bias is None else layer.bias + mean, False)
        error = (errors[name] - rows[name] * mean**2).sum() / sizes[name].sum().clamp_min(1e-30)
        relative[name] = float(error.clamp_min(0).sqrt())
    return relative


def _holds(truth: np.ndarray, found: np.ndarray) -> bool:
    """Whether every score is within half the export's tolerance; then no clear answer changes."""
    return bool(np.abs(found - truth).max() <= TOLERANCES["int8"].scores / 2)
