"""Who felt what: calls with a speaker on each channel, over every way into the service."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio.layout import SAMPLE_RATE
from emotion2vec_client import Client, InvalidAudioError, Timeline
from emotion2vec_client.cli import main
from export.voices import main as voices_main
from tests.conftest import SAMPLES
from tests.integration.gateways import Gateway
from tests.integration.streams import encoded
from tests.scenarios.calls import (
    Call,
    call,
    seconds_inside,
    share_right,
    write_voice_model,
)

NAMES = ["agent", "caller"]


@pytest.fixture(scope="module")
def spoken(url: str) -> Call:
    """A minute in which a man and a woman take turns, and sometimes speak at once."""
    with Client(url) as client:
        voices = [
            [client.decode(SAMPLES / name).samples for name in names]
            for names in (["angry.flac", "sad.mp3"], ["happy.wav", "fearful.m4a"])
        ]
    return call((voices[0], voices[1]), 60, (-1.0, 1.0), seed=3)


@pytest.fixture(scope="module")
def path(spoken: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, spoken.channels.T, SAMPLE_RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def timeline(url: str, path: Path) -> Timeline:
    with Client(url) as client:
        return client.timeline(path, channels="separate", names=NAMES, embedding=True)


def test_each_channel_is_heard_as_if_it_were_alone(
    client: Client, path: Path, timeline: Timeline
) -> None:
    both, _ = soundfile.read(path, dtype="float32")
    for number, name in enumerate(NAMES):
        own = [segment for segment in timeline.segments if segment.speaker == name]
        alone = client.timeline((both[:, number], SAMPLE_RATE), embedding=True)
        assert [(each.start, each.end, each.speech) for each in own] == [
            (each.start, each.end, each.speech) for each in alone.segments
        ]
        for segment, single in zip(own, alone.segments, strict=True):
            assert segment.scores == pytest.approx(single.scores, abs=1e-5)
            assert segment.embedding is not None
            assert single.embedding is not None
            np.testing.assert_allclose(segment.embedding, single.embedding, atol=1e-4)
        speaker = timeline.speakers[number]
        assert speaker.name == name
        assert speaker.speech == pytest.approx(alone.speech_ratio * alone.duration)
        assert speaker.summary is not None
        assert alone.summary is not None
        assert speaker.summary.scores == pytest.approx(alone.summary.scores, abs=1e-5)
        assert speaker.summary.turning_points == alone.summary.turning_points
        assert speaker.summary.negative == alone.summary.negative


def test_no_segment_is_on_the_wrong_channel(spoken: Call, timeline: Timeline) -> None:
    assert len(timeline.segments) > 10
    for segment in timeline.segments:
        own = spoken.turns[NAMES.index(str(segment.speaker))]
        inside = seconds_inside(segment.start, segment.end, own)
        assert inside > 0.5 * (segment.end - segment.start), segment
    starts = [segment.start for segment in timeline.segments]
    assert starts == sorted(starts)


def test_what_happened_between_the_speakers(spoken: Call, timeline: Timeline) -> None:
    conversation = timeline.conversation
    assert conversation is not None
    first, second = spoken.turns
    overlap = sum(seconds_inside(start, end, second) for start, end in first)
    assert overlap > 0.5
    # The detector hears a little before and after each word.
    assert conversation.overlap is not None
    assert 0.5 * overlap < conversation.overlap < 2 * overlap
    # One speaks, or the other, or both.
    either = sum(speaker.speech for speaker in timeline.speakers) - conversation.overlap
    assert timeline.speech_ratio * timeline.duration == pytest.approx(either, abs=0.05)
    turns = [
        (speaker.summary.turning_points[0].time, speaker.name)
        for speaker in timeline.speakers
        if speaker.summary is not None and speaker.summary.turning_points
    ]
    turn = conversation.first_to_turn
    assert (turn and (turn.time, turn.speaker)) == min(turns, default=None)


def test_a_stream_of_both_channels_gives_the_same(
    client: Client, gateway: Gateway, path: Path, timeline: Timeline, tmp_path: Path
) -> None:
    both, _ = soundfile.read(path, dtype="float32")
    data = encoded(tmp_path / "call.wav", both, SAMPLE_RATE, "s16le")
    with client.stream(channels=2, names=NAMES, interval=0, gateway=gateway.url) as stream:

        def send() -> None:
            for start in range(0, len(data), 64_000):
                stream.send(data[start : start + 64_000])
            stream.finish()

        sender = threading.Thread(target=send)
        sender.start()
        finals = sorted(stream, key=lambda each: (each.start, each.channel))
        sender.join()
    assert [(each.start, each.end, each.speaker) for each in finals] == [
        (segment.start, segment.end, segment.speaker) for segment in timeline.segments
    ]
    for final, segment in zip(finals, timeline.segments, strict=True):
        assert final.unwrap().scores == pytest.approx(segment.scores, abs=1e-5)
    totals = stream.totals
    assert totals is not None
    assert totals.conversation == timeline.conversation


def test_rest_and_its_files_name_the_speakers(
    gateway: Gateway, path: Path, timeline: Timeline
) -> None:
    answer = gateway.http.post(
        "/api/timeline/",
        files={"audio": path.read_bytes()},
        data={"channels": "separate", "names": NAMES},
    )
    result = gateway.finished(answer.json())["result"]
    assert [segment["speaker"] for segment in result["segments"]] == [
        segment.speaker for segment in timeline.segments
    ]
    assert [each["name"] for each in result["speakers"]] == NAMES
    expected = timeline.to_dict()
    assert result["conversation"] == pytest.approx(expected["conversation"])
    files = {name: gateway.http.get(url).text for name, url in result["files"].items()}
    lines = [line.split(",")[:3] for line in files["timeline.csv"].splitlines()]
    assert lines == [line.split(",")[:3] for line in timeline.to_csv().splitlines()]
    assert lines[0] == ["start", "end", "speaker"]
    assert files["timeline.srt"] == timeline.to_srt()
    assert f"\n{timeline.segments[0].speaker}: " in files["timeline.vtt"]


def test_channels_without_names_are_left_and_right_or_numbers(client: Client, path: Path) -> None:
    found = client.timeline(path, channels="separate")
    assert [speaker.name for speaker in found.speakers] == ["left", "right"]
    both, _ = soundfile.read(path, dtype="float32", stop=10 * SAMPLE_RATE)
    third = np.zeros(len(both), np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.column_stack([both, third]), SAMPLE_RATE, format="WAV")
    found = client.timeline(file.getvalue(), channels="separate", names=["agent"])
    assert [speaker.name for speaker in found.speakers] == ["agent", "channel 2", "channel 3"]
    assert found.speakers[2].speech == 0
    assert found.speakers[2].summary is None


def test_voices_on_one_channel_are_told_apart_once_there_is_a_model(
    client: Client, gateway: Gateway, tiny_repository: Path, tmp_path: Path
) -> None:
    voices = [
        [client.decode(SAMPLES / name).samples for name in names]
        for names in (["angry.flac"], ["fearful.m4a"])
    ]
    spoken = call((voices[0], voices[1]), 60, (0.2, 1.0), seed=1)
    mono = (spoken.mixed, SAMPLE_RATE)
    installed = tiny_repository / "emotion2vec_timeline" / "1" / "voices.onnx"
    installed.unlink(missing_ok=True)
    with pytest.raises(InvalidAudioError, match="run 'make voices'"):
        client.timeline(mono, speakers=2)
    write_voice_model(tmp_path / "own.onnx")
    own = [f"--file={tmp_path / 'own.onnx'}", f"--model-repository={tiny_repository}"]
    assert voices_main(own) == 0
    for speakers in (2, "auto"):
        shares: list[float] = []
        found = client.timeline(mono, speakers=speakers, names=["Ada"], progress=shares.append)
        assert [speaker.name for speaker in found.speakers] == ["Ada", "speaker 2"]
        assert found.segments[0].speaker == "Ada"
        segments = [(int(each.speaker != "Ada"), each.start, each.end) for each in found.segments]
        assert share_right(segments, spoken.turns) > 0.95
        assert found.conversation is not None
        assert found.conversation.overlap is None
        assert shares == sorted(shares)
        total = sum(speaker.speech for speaker in found.speakers)
        assert total == pytest.approx(found.speech_ratio * found.duration, abs=0.1)
        for segment in found.segments[:4]:
            start, end = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
            alone = client.predict((spoken.mixed[start:end], SAMPLE_RATE))
            assert segment.scores == pytest.approx(alone.scores, abs=1e-5)
    one = client.timeline(SAMPLES / "happy.wav", speakers="auto")
    assert [speaker.name for speaker in one.speakers] == ["speaker 1"]


def test_what_cannot_be_told_apart_is_refused(client: Client, gateway: Gateway, path: Path) -> None:
    mono = SAMPLES / "sad.mp3"
    with pytest.raises(InvalidAudioError, match="the file has one channel") as caught:
        client.timeline(mono, channels="separate")
    assert caught.value.reason == "bad_request"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"channels": "separate", "speakers": "2"}, "each channel is one speaker"),
        ({"names": NAMES}, "names are for several speakers"),
        ({"channels": "separate", "names": ["a", "a"]}, "a name of its own"),
        ({"channels": "stereo"}, "use 'mixed' or 'separate'"),
        ({"speakers": "many"}, "use 'auto' or a number"),
        ({"speakers": "9"}, "use 'auto', or 1 to 8"),
        ({"speakers": "2", "segmentation": "fixed"}, "leave out windows"),
        ({"speakers": "2", "names": ["a", "b", "c"]}, "3 names for 2 speakers"),
        ({"speakers": "2", "names": ["a" * 101]}, "at most 100"),
        ({"speakers": "2", "names": ["a\nb"]}, "a name on one line"),
    ]
    for data, sentence in wrong:
        answer = gateway.http.post("/api/timeline/", files={"audio": b"RIFF"}, data=data)
        assert answer.status_code == 422, data
        assert sentence in answer.json()["detail"]


def test_the_command_shows_and_writes_the_speakers(
    url: str, path: Path, timeline: Timeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, table, rows = (tmp_path / name for name in ("a.png", "a.csv", "a.jsonl"))
    command = ["timeline", str(path), "--separate", "--names", "agent, caller", "--url", url]
    assert main([*command, "-o", str(picture), "-o", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "\nagent: " in f"\n{shown}"
    assert "\ncaller: " in shown
    assert "two speak at once for " in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "speaker" in table.read_text("utf-8").splitlines()[0].split(",")
    assert main([*command, "-o", str(rows), "--format", "jsonl"]) == 0
    nested = json.loads(rows.read_text("utf-8"))
    assert [each["name"] for each in nested["speakers"]] == NAMES
    assert [each["speaker"] for each in nested["segments"]] == [
        segment.speaker for segment in timeline.segments
    ]
    # Rows of another kind are not mixed in.
    assert main(["timeline", str(path), "--url", url, "-o", str(rows), "--resume"]) == 2
