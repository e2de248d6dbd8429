"""Operators of ONNX Runtime that CUDA has a fused kernel for, and what they compute in PyTorch.

In an export each becomes one node of the domain ``com.microsoft``, but not in the frontend's loop,
whose body PyTorch traces on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(qkv: Tensor, bias: Tensor, cells: Tensor, starts: Tensor, alibi: Tensor) -> Tensor:
    """Attention over sequences of different length, end to end, whose queries are already scaled.

    Args:
        qkv: [tokens, heads, 3, head_size], each token's query, key and value.
        bias: [3 * heads * head_size], added to all queries, then keys, then values.
        cells: int32 [sequences, longest]. The cell of a padded grid that each token would have,
            then the empty cells. A kernel that is not fused needs it.
        starts: int32 [sequences + 1], where each sequence starts, and where the last one ends.
        alibi: [1, heads, longest, longest], added to the logits of every sequence.

    Returns:
        [tokens, heads * head_size].
    """
    tokens, heads, _, size = qkv.shape
    if torch.onnx.is_in_onnx_export():
        # Without a key and a value, the query holds all three.
        inputs = (qkv, None, None, bias, cells, starts, alibi)
        attributes = {"num_heads": heads, "scale": 1.0}
        return _node("PackedMultiHeadAttention", inputs, attributes, (tokens, heads * size))
    qkv = qkv + bias.reshape(3, heads, size).transpose(0, 1)
    attended = qkv.new_zeros(heads, tokens, size)
    for start, end in zip(starts.tolist(), starts.tolist()[1:], strict=False):
        q, k, v = qkv[start:end].permute(2, 1, 0, 3).unsqueeze(1).unbind(0)
        mask = alibi[:, :, : end - start, : end - start]
        part = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        attended[:, start:end] = part[0]
    return attended.transpose(0, 1).reshape(tokens, heads * size)


class Norm(torch.nn.Module):
    """A LayerNorm of a sum, computed in fp32 inside."""

    def __init__(self, norm: torch.nn.LayerNorm):
        super().__init__()
        (width,), self.epsilon = norm.normalized_shape, norm.eps
        self.weight = _constant(norm.weight, 1.0, width)
        self.shift = _constant(norm.bias, 0.0, width)
        # Broadcast instead of a second summand: the kernel is three times as fast as LayerNorm's.
        self.nothing = torch.nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: Tensor, skip: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """The LayerNorm of ``x + skip + bias``: [rows, width]."""
        if torch.onnx.is_in_onnx_export():
            attributes = {"epsilon": self.epsilon}
            x, other = (x.unsqueeze(1), self.nothing) if skip is None else (x, skip)
            inputs = (x, other, self.weight, self.shift, bias)
            return _node("SkipLayerNormalization", inputs, attributes, x.shape).flatten(0, -2)
        total = x if skip is None else x + skip
        total = total if bias is None else total + bias
        return F.layer_norm(total, self.weight.shape, self.weight, self.shift, self.epsilon)


class Gelu(torch.nn.Module):
    """GELU of a sum with a bias of a given width; by default it is zero."""

    def __init__(self, width: int, bias: Tensor | None = None):
        super().__init__()
        self.bias = _constant(bias, 0.0, width)

    def forward(self, x: Tensor) -> Tensor:
        """GELU of ``x + bias``: [rows, width]."""
        if torch.onnx.is_in_onnx_export():
            return _node("BiasGelu", (x, self.bias), {}, x.shape)
        return F.gelu(x + self.bias)


def _constant(value: Tensor | None, default: float, width: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full((width,), default) if value is None else value.detach())


def _node(
    name: str,
    inputs: Sequence[Tensor | None],
    attributes: dict[str, Any],
    shape: Sequence[int | torch.SymInt],
) -> Tensor:
    first = inputs[0]
    assert first is not None
    return torch.onnx.ops.symbolic(
        f"com.microsoft::{name}", inputs, attributes, dtype=first.dtype, shape=shape, version=1
    )
