"""Validates the tensors of each request before it joins a batch.

A packing graph computes on the tensors of all requests end to end, and locates each clip by the
length that its request declares. A false length would mix rows of different requests.
"""

from __future__ import annotations

import json
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
        slot: Samples per slot; a clip takes up whole slots.
        window: Samples that a frame sees; the hop is a slot.
        extra_slots: Empty slots in front of the clip.
        max_samples: Most samples in a clip.
    """

    slot: int
    window: int
    extra_slots: int
    max_samples: int

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Layout | None:
        """Reads the layout from a model's configuration; None if it has none."""
        parameter = config.get("parameters", {}).get("layout")
        return cls(**json.loads(parameter["string_value"])) if parameter else None

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Refuses a request whose tensors are not those of one clip.

        Args:
            tensors: ``waveform`` FP32, ``num_samples`` INT32 of one element, ``frames`` INT32.

        Raises:
            LayoutError: The tensors do not describe one clip.
        """
        waveform, frames = tensors["waveform"].ravel(), tensors["frames"].ravel()
        if tensors["num_samples"].size != 1:
            raise LayoutError("num_samples has more than one element: send one clip per request")
        samples = int(tensors["num_samples"].item())
        if not self.window <= samples <= self.max_samples:
            raise LayoutError(
                f"num_samples is {samples}: a clip has {self.window} to {self.max_samples} samples"
            )
        expected = (self.extra_slots + -(-samples // self.slot)) * self.slot
        if waveform.size != expected:
            raise LayoutError(
                f"waveform has {waveform.size} elements, but a clip of {samples} samples takes up "
                f"{expected}"
            )
        count = (samples - self.window) // self.slot + 1
        if frames.size != count:
            raise LayoutError(
                f"frames has {frames.size} elements, but {samples} samples have {count} frames"
            )
        if frames.min() < 0 or frames.max() >= count:
            raise LayoutError(f"frames has numbers outside 0 to {count - 1}")
        # With a mean of 0 and a variance of 1, no sample can exceed this. NaN fails the comparison
        # too.
        if not np.abs(waveform).max() <= samples**0.5:
            raise LayoutError("waveform is not normalised, or contains NaN")
