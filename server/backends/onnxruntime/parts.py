"""Which requests of a batch are computed together, where more of them are not always faster.

Attention lays its clips out in a grid as long as the longest. A CPU pays for the grid's empty part,
and its matrix products are already at full rate with one clip of some seconds: it gains by
computing short clips together, and loses with long ones beside short ones.
"""

from __future__ import annotations

from collections.abc import Sequence


def split(sizes: Sequence[int], max_elements: int | None) -> list[list[int]]:
    """Splits a batch into parts, the shortest requests first.

    Args:
        sizes: Elements of each request's ragged input.
        max_elements: Of a part's grid: its requests times the longest one's elements. A request
            that is longer is a part of its own. None computes the batch as one.

    Returns:
        Positions in ``sizes``, each of them once.
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
