"""Who spoke in a recording with several speakers, and what happened between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from emotion2vec_client._judges import NOBODY, Judges
from emotion2vec_client._summary import Segment, Summary, summarise

Channels = Literal["mixed", "separate"]
Speakers = Union[int, Literal["auto"]]

MOST_SPEAKERS = 8
LONGEST_NAME = 100

SIDES = ("left", "right")
"""The speakers of a recording in stereo, unless they are given names."""


@dataclass(frozen=True, eq=False)
class Speaker:
    """One speaker of a recording.

    Attributes:
        name: The given name; else left or right, the number of the channel, or of the speaker in
            the order of their first words.
        speech: Seconds of speech.
        summary: Of this speaker's segments, or None if there are none with speech.
    """

    name: str
    speech: float
    summary: Summary | None

    def to_dict(self) -> dict[str, Any]:
        """The speaker as plain JSON types."""
        return {
            "name": self.name,
            "speech": self.speech,
            "summary": self.summary.to_dict() if self.summary else None,
        }


@dataclass(frozen=True)
class SpeakerTurn:
    """A time at which the smoothed dominant emotion of one speaker changes.

    Attributes:
        speaker: Name of the speaker.
        time: In seconds.
        before: The emotion until then.
        after: The new emotion.
    """

    speaker: str
    time: float
    before: str
    after: str


@dataclass(frozen=True)
class Conversation:
    """What happened between the speakers.

    Attributes:
        first_to_turn: The first turning point of all speakers, or None if there is none.
        overlap: Seconds in which two or more speak at once; None if speakers were told apart by
            their voices, because then each moment has one speaker.
    """

    first_to_turn: SpeakerTurn | None
    overlap: float | None

    def to_dict(self) -> dict[str, Any]:
        """The conversation as plain JSON types."""
        turn = self.first_to_turn
        return {"first_to_turn": vars(turn) if turn else None, "overlap": self.overlap}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Conversation:
        """Reads what `to_dict` returns."""
        turn = plain["first_to_turn"]
        return cls(SpeakerTurn(**turn) if turn else None, plain["overlap"])


def sum_up(
    segments: Sequence[Segment], seconds: Mapping[str, float], judges: Judges = NOBODY
) -> tuple[Speaker, ...]:
    """Sums up each speaker.

    Args:
        segments: Of all speakers, in the order of their starts.
        seconds: Seconds of speech, by the speaker's name.
        judges: Who has judged the segments.
    """
    return tuple(
        Speaker(
            name, speech, summarise([each for each in segments if each.speaker == name], judges)
        )
        for name, speech in seconds.items()
    )


def converse(speakers: Sequence[Speaker], overlap: float | None) -> Conversation:
    """Compares the speakers."""
    turns = [
        SpeakerTurn(speaker.name, point.time, point.before, point.after)
        for speaker in speakers
        if speaker.summary is not None
        for point in speaker.summary.turning_points[:1]
    ]
    return Conversation(min(turns, key=lambda turn: turn.time, default=None), overlap)


def check_names(names: Sequence[str]) -> None:
    """Refuses names that a table or a subtitle cannot have.

    Raises:
        ValueError: There are too many, one is too long or empty or not printable, or two are equal.
        TypeError: ``names`` is one name instead of a list.
    """
    if isinstance(names, str):
        raise TypeError(f"names is one string, {names!r}: give a list of names")
    if len(names) > MOST_SPEAKERS:
        raise ValueError(f"names has {len(names)} names: give at most {MOST_SPEAKERS}")
    for name in names:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ValueError(f"{name!r} is in names: give each speaker a name on one line")
        if len(name) > LONGEST_NAME:
            raise ValueError(f"a name has {len(name)} characters: use at most {LONGEST_NAME}")
    if len(set(names)) < len(names):
        raise ValueError(f"names is {list(names)!r}: give each speaker a name of its own")


def are_told_apart(channels: str, speakers: object) -> bool:
    """Whether the options ask for several speakers."""
    return channels == "separate" or speakers != 1


def name_all(count: int, channels: str, names: Sequence[str]) -> list[str]:
    """Names for ``count`` speakers: the given ones, and then their numbers."""
    if channels == "mixed":
        default = [f"speaker {number + 1}" for number in range(count)]
    elif count == len(SIDES):
        default = list(SIDES)
    else:
        default = [f"channel {number + 1}" for number in range(count)]
    # A given name may be the default of another speaker.
    rest = (f"{name} (2)" if name in names else name for name in default[len(names) :])
    return [*names, *rest][:count]
