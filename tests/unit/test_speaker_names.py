"""Names of speakers in a timeline and in the files that it is saved to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emotion2vec_client._speakers import check_names, name_all
from emotion2vec_client._timeline import Timeline
from tests.unit.cli_fakes import timeline


def named(*names: str) -> Timeline:
    """Two segments, which overlap, of two speakers."""
    made = timeline(2)
    first, second = made.segments
    segments = (replace(first, speaker=names[0]), replace(second, start=0.5, speaker=names[1]))
    return replace(made, segments=segments, speaker_seconds=dict.fromkeys(names, 1.0), overlap=0.5)


@pytest.mark.parametrize(
    ("count", "channels", "given", "all_names"),
    [
        (2, "separate", [], ["left", "right"]),
        (2, "separate", ["agent"], ["agent", "right"]),
        (3, "separate", [], ["channel 1", "channel 2", "channel 3"]),
        (2, "mixed", [], ["speaker 1", "speaker 2"]),
        (1, "mixed", ["a", "b"], ["a"]),
        # A given name is the default of another one.
        (2, "mixed", ["speaker 2"], ["speaker 2", "speaker 2 (2)"]),
        (2, "separate", ["right"], ["right", "right (2)"]),
    ],
)
def test_each_speaker_has_one_name(
    count: int, channels: str, given: list[str], all_names: list[str]
) -> None:
    assert name_all(count, channels, given) == all_names


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a", "a"], "a name of its own"),
        ([""], "a name on one line"),
        (["a\n"], "a name on one line"),
        (["\x1b[2J"], "a name on one line"),
        (["a" * 101], "at most 100"),
        (list("abcdefghi"), "at most 8"),
    ],
)
def test_names_that_files_cannot_have_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_names(names)


def test_one_string_is_not_a_list_of_names() -> None:
    with pytest.raises(TypeError, match="give a list"):
        check_names("ab")


def test_subtitles_keep_names_that_look_like_markup() -> None:
    found = named("<Ada> & co", "a --> b")
    assert "&lt;Ada&gt; &amp; co: " in found.to_vtt()
    assert "a --&gt; b: " in found.to_vtt()
    assert "\n<Ada> & co: " in found.to_srt()
    assert "\na → b: " in found.to_srt()
    # Speakers may overlap; only windows of one speaker hide each other.
    assert found.visible_ends() == [1.0, 2.0]


def test_a_picture_takes_any_name(tmp_path: Path) -> None:
    named("$\\foo$: b", "客服").save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_rows_have_the_speaker_after_the_end() -> None:
    found = named("agent", "caller")
    assert found.columns[:4] == ["start", "end", "speaker", "speech"]
    assert [row["speaker"] for row in found.rows()] == ["agent", "caller"]
    assert "speaker" not in timeline(1).columns
    conversation = found.to_dict()["conversation"]
    assert conversation == {"first_to_turn": None, "overlap": 0.5}
