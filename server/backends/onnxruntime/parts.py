"""Splits a batch into parts for a CPU, where larger batches are not always faster.

Attention arranges clips in a grid as long as the longest. A CPU pays for the empty part of the
grid, and its matrix products reach their full rate with a single clip of a few seconds. So it gains
by computing short clips together, and loses by computing long ones beside short ones.
"""

from __future__ import annotations

from collections.abc import Sequence


def split(sizes: Sequence[int], max_elements: int | None) -> list[list[int]]:
    """Splits a batch into parts, the shortest requests first.

    Args:
        sizes: Elements of each request's ragged input.
        max_elements: Largest grid of a part: its requests times the elements of the longest one. A
            request that is longer is a part of its own. None makes the batch one part.

    Returns:
        Positions in ``sizes``, each once.
    """
    if max_elements is None:
        return [list(range(len(sizes)))] if sizes else []
    parts: list[list[int]] = []
    for position in sorted(range(len(sizes)), key=sizes.__getitem__):
        if parts and (len(parts[-1]) + 1) * sizes[position] <= max_elements:
            parts[-1].append(position)
        else:
            parts.append([position])
    return parts
