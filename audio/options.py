"""The options of a timeline request, and the errors for invalid ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from audio.limits import AudioError

LONGEST = 30.0
"""Longest segment, in seconds. The model accepts no longer clip."""

MOST_OVERLAP = 10
"""Most windows that may contain the same second; more would only add load."""


SECONDS = ("min_segment", "max_segment", "window", "hop")

INAPPLICABLE = {"vad": ("window", "hop"), "fixed": ("min_segment", "max_segment")}
"""For each segmentation, the options that only the other one takes."""

MOST_SPEAKERS = 8

AUTO = 0
"""Stands for a number of speakers that is found."""


@dataclass(frozen=True)
class Options:
    """The parameters of a request.

    Attributes:
        segmentation: ``vad`` cuts speech at pauses, ``fixed`` cuts windows of equal length.
        min_segment: For ``vad``: a segment shorter than this, in seconds, joins the next.
        max_segment: For ``vad``: longest segment, in seconds.
        window: For ``fixed``: length of a window, in seconds.
        hop: For ``fixed``: seconds from one window's start to the next one's.
        channels: ``mixed`` hears the mean of all channels, ``separate`` each as a speaker.
        speakers: Speakers to tell apart by their voices; 1 for no difference, or `AUTO`.
    """

    segmentation: str = "vad"
    min_segment: float = 1.0
    max_segment: float = 10.0
    window: float = 3.0
    hop: float = 3.0
    channels: str = "mixed"
    speakers: int = 1

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> Options:
        """Reads the parameters of a request.

        Args:
            parameters: As KServe sends them. Numbers may be strings, which all protocols have.

        Raises:
            AudioError: A parameter is unknown, not a number or out of range; the reason is
                ``bad_request``.
        """
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(parameters) - set(names))
        if unknown:
            raise _refused(f"the parameter {unknown[0]!r} is unknown", f"use {', '.join(names)}")
        given = dict(parameters)
        for name in SECONDS:
            if name in given:
                given[name] = _number(name, given[name])
        if "speakers" in given:
            given["speakers"] = _speakers(given["speakers"])
        if "window" in given and "hop" not in given:
            given["hop"] = given["window"]
        options = cls(**given)
        options._check()
        other = [name for name in given if name in INAPPLICABLE.get(options.segmentation, ())]
        if other:
            kind = "fixed" if options.segmentation == "vad" else "vad"
            raise _refused(
                f"{other[0]} is given, which is an option of segmentation={kind}, and not of "
                f"{options.segmentation}",
                "leave one of the two out",
            )
        return options

    def _check(self) -> None:
        if self.segmentation not in ("vad", "fixed"):
            raise _refused(f"segmentation is {self.segmentation!r}", "use 'vad' or 'fixed'")
        if not 0.25 <= self.min_segment <= LONGEST / 2:
            raise _refused(f"min_segment is {self.min_segment:g} s", f"use 0.25 to {LONGEST / 2:g}")
        if not 2 * self.min_segment <= self.max_segment <= LONGEST:
            raise _refused(
                f"max_segment is {self.max_segment:g} s",
                f"use twice min_segment, {2 * self.min_segment:g}, to {LONGEST:g}",
            )
        if not 0.25 <= self.window <= LONGEST:
            raise _refused(f"window is {self.window:g} s", f"use 0.25 to {LONGEST:g}")
        if not self.window / MOST_OVERLAP <= self.hop <= self.window:
            raise _refused(
                f"hop is {self.hop:g} s",
                f"use a tenth of the window, {self.window / MOST_OVERLAP:g}, to the whole of it, "
                f"{self.window:g}",
            )
        if self.channels not in ("mixed", "separate"):
            raise _refused(f"channels is {self.channels!r}", "use 'mixed' or 'separate'")
        if self.speakers != 1 and self.channels == "separate":
            raise _refused(
                "speakers is given with channels=separate, where each channel is one speaker",
                "leave one of the two out",
            )
        if self.speakers != 1 and self.segmentation == "fixed":
            raise _refused(
                "speakers is given, which cuts where the speaker changes, with segmentation=fixed",
                "leave one of the two out",
            )


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise _refused(f"{name} is {value!r}", "use a number of seconds") from error
    if not math.isfinite(number):
        raise _refused(f"{name} is {number}", "use a number of seconds")
    return number


def _speakers(value: Any) -> int:
    if value == "auto":
        return AUTO
    if str(value) not in map(str, range(1, MOST_SPEAKERS + 1)):
        raise _refused(f"speakers is {value!r}", f"use 'auto', or 1 to {MOST_SPEAKERS}")
    return int(value)


def _refused(what: str, remedy: str) -> AudioError:
    return AudioError("bad_request", f"{what}: {remedy}")
