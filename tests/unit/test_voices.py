"""Who speaks when in a recording with one channel."""

from __future__ import annotations

import numpy as np
import pytest

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from audio.options import AUTO
from audio.segmentation import CHUNK, Chunk, PauseCutter, Piece
from audio.voices import Listener, TurnCutter, Turns, VoiceModel, find_voices
from tests.conftest import SAMPLES
from tests.fuzz.limits import LIMITS
from tests.scenarios.calls import Call, call, write_voice_model


def speech(name: str) -> np.ndarray:
    return decode((SAMPLES / name).read_bytes(), LIMITS).samples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VoiceModel:
    path = tmp_path_factory.mktemp("voices") / "voices.onnx"
    write_voice_model(path)
    return VoiceModel(path)


@pytest.fixture(scope="module")
def spoken() -> Call:
    return call(([speech("angry.flac")], [speech("fearful.m4a")]), 40, (0.2, 1.0), seed=1)


def heard(model: VoiceModel, samples: np.ndarray, speakers: int, size: int = 16_000) -> Turns:
    listener = Listener(model)
    for start in range(0, len(samples), size):
        listener.push(samples[start : start + size])
    return listener.finish(speakers)


@pytest.mark.parametrize("speakers", [2, AUTO])
def test_each_chunk_of_speech_has_its_speaker(
    model: VoiceModel, spoken: Call, speakers: int
) -> None:
    turns = heard(model, spoken.mixed, speakers)
    assert turns.count == 2
    assert len(turns.speakers) == len(turns.probabilities) == -(-len(spoken.mixed) // CHUNK)
    middle = (np.arange(len(turns.speakers)) + 0.5) * CHUNK / SAMPLE_RATE
    first = int(spoken.turns[1][0, 0] < spoken.turns[0][0, 0])
    right = [
        # Who speaks first has the first number.
        turns.speakers[(middle > start) & (middle < end)] == (voice != first)
        for voice in range(2)
        for start, end in spoken.turns[voice]
    ]
    assert np.concatenate(right).mean() > 0.9


def test_it_does_not_matter_how_the_recording_arrives(model: VoiceModel, spoken: Call) -> None:
    whole, parts = heard(model, spoken.mixed, 2, 10**9), heard(model, spoken.mixed, 2, 777)
    np.testing.assert_array_equal(whole.speakers, parts.speakers)
    np.testing.assert_array_equal(whole.probabilities, parts.probabilities)


def test_one_voice_is_one_speaker_and_silence_has_none(model: VoiceModel) -> None:
    alone = np.concatenate([speech("disgusted.mp3"), np.zeros(SAMPLE_RATE, np.float32)] * 3)
    assert heard(model, alone, AUTO).count == 1
    silence = heard(model, np.zeros(5 * SAMPLE_RATE, np.float32), AUTO)
    assert (silence.count, set(silence.speakers.tolist())) == (1, {0})
    assert heard(model, np.zeros(0, np.float32), 2).count == 1
    # A word is one window, and so one speaker.
    assert heard(model, speech("short.wav"), 2).count <= 2


def test_voices_are_the_clusters_of_the_windows() -> None:
    random = np.random.default_rng(0)
    axes = np.eye(3, 32)
    windows = np.repeat(axes, [40, 10, 5], axis=0) + 0.05 * random.standard_normal((55, 32))
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    for speakers in (3, AUTO):
        voices = find_voices(windows, speakers)
        assert sorted(np.abs(voices @ axes.T).argmax(axis=0).tolist()) == [0, 1, 2]
    assert len(find_voices(windows[:40], AUTO)) == 1
    assert len(find_voices(windows, 2)) == 2
    assert len(find_voices(windows[:1], 2)) == 1


def test_each_speaker_is_cut_as_if_the_others_were_silent() -> None:
    # A second each: one speaker, the other at once after, a pause, the first again.
    says = np.repeat([0, 1, 0, 0], 32)
    speaks = np.repeat([True, True, False, True], 32)
    turns = Turns(says.astype(np.int8), 2, [])
    cutter = TurnCutter(turns, lambda: PauseCutter(0.25, 10))
    found = [
        piece
        for is_speech in speaks
        for piece in cutter.push(Chunk(CHUNK, float(is_speech), 0.1), bool(is_speech))
    ] + cutter.finish()
    second = 32 * CHUNK
    edge = 2 * CHUNK
    assert sorted(found, key=lambda piece: piece.start) == [
        Piece(0, second + edge, second, 0),
        Piece(second - edge, 2 * second + edge, second, 1),
        Piece(3 * second - edge, 4 * second, second, 0),
    ]
    assert cutter.speech == [2 * second, second]
