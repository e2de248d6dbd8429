"""Arithmetic on indices, in operators that every runtime has for whole numbers.

Not ``clamp``: TensorRT's Clip is for floats. PyTorch's exporter also writes Clip for a minimum of a
maximum if both are constant, so those must not follow each other.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least(index: Tensor, least: int) -> Tensor:
    """Raises whole numbers to a least value."""
    return torch.maximum(index, torch.full((1,), least, dtype=index.dtype, device=index.device))


def at_most(index: Tensor, most: int) -> Tensor:
    """Lowers whole numbers to a greatest value."""
    return torch.minimum(index, torch.full((1,), most, dtype=index.dtype, device=index.device))


def within(index: Tensor, count: int) -> Tensor:
    """Moves indices that are outside 0 to ``count - 1`` to the nearest one inside."""
    return at_most(at_least(index, 0), count - 1)


def sums_before(counts: Tensor) -> Tensor:
    """The exclusive cumulative sum, as a product because TensorRT's is slow."""
    index = torch.arange(counts.shape[0], device=counts.device)
    return ((index.unsqueeze(1) > index.unsqueeze(0)).long() * counts).sum(1)
