"""Validates the tensors of each request before it joins a batch.

The graph finds each clip by the shapes of its tensors, so a false one cannot mix rows of different
requests. But its answer would mean nothing, and it is better to say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


class LayoutError(Exception):
    """A request's tensors do not fit together; the message is one sentence."""


@dataclass(frozen=True)
class Layout:
    """How a clip is laid out: the parameter ``layout`` of config.pbtxt.

    Attributes:
        extra_slots: Empty slots in front of the clip.
        max_slots: Most slots of a clip, with these.
    """

    extra_slots: int
    max_slots: int

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Layout | None:
        """Reads the layout from a model's configuration; None if it has none."""
        parameter = config.get("parameters", {}).get("layout")
        return cls(**json.loads(parameter["string_value"])) if parameter else None

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Refuses a request whose tensors are not those of one clip.

        Args:
            tensors: ``waveform`` FP32 [1, slots, samples per slot], ``frames`` INT32 [1, frames].

        Raises:
            LayoutError: The tensors do not describe one clip.
        """
        waveform, frames = tensors["waveform"], tensors["frames"]
        if len(waveform) != 1 or len(frames) != 1:
            raise LayoutError(f"the request has {len(waveform)} clips: send one clip per request")
        slots, count = waveform.shape[1], frames.shape[1]
        if slots > self.max_slots:
            raise LayoutError(f"waveform has {slots} slots, and a clip at most {self.max_slots}")
        # The last frame ends in the next slot, and up to one slot more is left over.
        most = slots - self.extra_slots - 1
        if most < 1:
            raise LayoutError(f"waveform has {slots} slots, and a clip at least {slots - most + 1}")
        if not max(most - 1, 1) <= count <= most:
            raise LayoutError(
                f"frames has {count} elements, but {slots} slots have {max(most - 1, 1)} to {most} "
                "frames"
            )
        if frames.min() < 0 or frames.max() >= count:
            raise LayoutError(f"frames has numbers outside 0 to {count - 1}")
        # With a mean of 0 and a variance of 1, no sample can exceed this. NaN fails the comparison
        # too.
        if not np.abs(waveform).max() <= math.sqrt(waveform.size):
            raise LayoutError("waveform is not normalised, or contains NaN")
