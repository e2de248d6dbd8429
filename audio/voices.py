"""Tells speakers apart by their voices: finds who speaks in each chunk of a recording.

A small network turns windows of speech into embeddings, which are close if the voice is the same.
The windows are clustered when the whole recording has been heard.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import onnxruntime
from scipy.cluster.hierarchy import cut_tree, linkage

from audio.layout import SAMPLE_RATE
from audio.options import AUTO, MOST_SPEAKERS
from audio.segmentation import CHUNK, Chunk, Marked, PauseCutter, Piece, SpeechMarker
from audio.speech import Tape

WINDOW, HOP = 47, 24
"""Chunks that an embedding hears, 1.5 s, and from one window to the next within speech."""

CLEAR = 30
"""Chunks. Shorter windows do not decide which voices there are."""

MOST_CLUSTERED = 2_000
"""Windows that decide which voices there are, because the time for it grows with their square."""

SAME_VOICE = 0.55
"""Cosine of the mean embeddings of two clusters from which they are one voice. With the model that
docs/timeline.md names; it was chosen on mixtures of one to three of eight speakers of Emo-DB."""

BATCH = 16
HELD_SECONDS = 5


class VoiceModel:
    """An ONNX model that turns speech into an embedding of the voice.

    Its input is [n, frames, 80], log-mel filterbanks as Kaldi computes them (25 ms Hamming windows
    every 10 ms, samples scaled to 16 bits, the mean subtracted), as for WeSpeaker's models
    (https://github.com/wenet-e2e/wespeaker). Its output is [n, D].

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._options = kaldi_native_fbank.FbankOptions()
        self._options.frame_opts.samp_freq = SAMPLE_RATE
        self._options.frame_opts.dither = 0
        self._options.frame_opts.window_type = "hamming"
        self._options.mel_opts.num_bins = 80

    def embed(self, windows: np.ndarray) -> np.ndarray:
        """Embeddings of length 1, float32 [n, D].

        Args:
            windows: Speech of at least 0.16 s at 16 kHz, float32 [n, samples].
        """
        features = np.stack([self._features(window) for window in windows])
        [found] = self._session.run(None, {self._input: features})
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def _features(self, window: np.ndarray) -> np.ndarray:
        bank = kaldi_native_fbank.OnlineFbank(self._options)
        bank.accept_waveform(SAMPLE_RATE, window * 2.0**15)
        bank.input_finished()
        rows = np.stack([bank.get_frame(number) for number in range(bank.num_frames_ready)])
        return rows - rows.mean(axis=0)


@dataclass(frozen=True)
class Turns:
    """Who speaks when.

    Attributes:
        speakers: The speaker of each chunk, int8 [chunks]; it means nothing without speech.
        count: Number of speakers.
        probabilities: Of speech in each chunk, as the detector found them.
    """

    speakers: np.ndarray
    count: int
    probabilities: Sequence[float]


class Listener:
    """Hears a recording while it arrives, and then says who speaks when.

    Args:
        model: Turns speech into embeddings.
    """

    def __init__(self, model: VoiceModel) -> None:
        self._model = model
        self._tape = Tape(HELD_SECONDS)
        self._marker = SpeechMarker()
        self._probabilities = array("f")
        self._decided = 0  # Chunks that are marked.
        self._speech = 0  # First chunk of the speech that goes on.
        self._next = 0  # First chunk of the next window.
        self._speaking = False
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._windows: list[tuple[int, int]] = []
        self._embeddings: list[np.ndarray] = []

    def push(self, samples: np.ndarray) -> None:
        """Takes the next samples, float32 [n] at 16 kHz."""
        for chunk in self._tape.push(samples):
            self._hear(chunk)

    def finish(self, speakers: int) -> Turns:
        """Finds who has spoken.

        Args:
            speakers: Their number, or `AUTO`.
        """
        for chunk in self._tape.finish():
            self._hear(chunk)
        self._mark(self._marker.finish())
        self._end()
        self._embed()
        return self._turns(speakers)

    def _hear(self, chunk: Chunk) -> None:
        self._probabilities.append(chunk.probability)
        self._mark(self._marker.push(chunk))

    def _mark(self, marked: Iterable[Marked]) -> None:
        for _, is_speech in marked:
            if is_speech and not self._speaking:
                self._speaking, self._speech, self._next = True, self._decided, self._decided
            elif self._speaking and not is_speech:
                self._end()
            self._decided += 1
            if self._speaking and self._decided - self._next == WINDOW:
                self._take(self._next, self._decided)
                self._next += HOP

    def _end(self) -> None:
        """Takes the last window of the speech."""
        if self._speaking and not (self._windows and self._windows[-1][1] == self._decided):
            self._take(max(self._speech, self._decided - WINDOW), self._decided)
        self._speaking = False

    def _take(self, start: int, end: int) -> None:
        samples = self._tape.cut(start * CHUNK, min(end * CHUNK, self._tape.total))
        self._windows.append((start, end))
        if self._waiting and len(self._waiting[0][1]) != len(samples):
            self._embed()
        self._waiting.append((start, samples))
        if len(self._waiting) == BATCH:
            self._embed()

    def _embed(self) -> None:
        if self._waiting:
            self._embeddings.extend(
                self._model.embed(np.stack([each for _, each in self._waiting]))
            )
            self._waiting.clear()

    def _turns(self, speakers: int) -> Turns:
        count = len(self._probabilities)
        if not self._windows:
            return Turns(np.zeros(count, np.int8), 1, self._probabilities)
        embeddings = np.stack(self._embeddings)
        lengths = np.array([end - start for start, end in self._windows])
        clear = np.flatnonzero(lengths >= min(CLEAR, lengths.max()))
        chosen = clear[:: -(-len(clear) // MOST_CLUSTERED)]
        voices = find_voices(embeddings[chosen], speakers)
        # Each chunk gets the voice that is nearest to the windows around it.
        near = np.zeros((count, len(voices)), np.float32)
        for (start, end), row in zip(self._windows, embeddings @ voices.T, strict=True):
            near[start:end] += np.hanning(end - start + 2)[1:-1, np.newaxis] * row
        found = near.argmax(axis=1)
        spoken = found[np.flatnonzero(near.any(axis=1))]
        # In the order of their first words; who has none comes last.
        firsts = [
            int(np.argmax(spoken == number)) if number in spoken else count
            for number in range(len(voices))
        ]
        order = np.argsort(firsts)
        return Turns(np.argsort(order)[found].astype(np.int8), len(voices), self._probabilities)


def find_voices(embeddings: np.ndarray, speakers: int) -> np.ndarray:
    """The mean embedding of each voice, float32 [k, D], of length 1.

    Args:
        embeddings: Of windows, float32 [n, D], of length 1.
        speakers: How many voices there are, or `AUTO`: then as many as differ clearly.
    """
    most = min(speakers or MOST_SPEAKERS, len(embeddings))
    if most == 1:
        return _mean(embeddings)[np.newaxis]
    tree = linkage(embeddings, "ward")
    if speakers != AUTO:
        return _cut(tree, embeddings, most)
    voices = _mean(embeddings)[np.newaxis]
    for count in range(2, most + 1):
        more = _cut(tree, embeddings, count)
        if (more @ more.T)[np.triu_indices(count, 1)].max() >= SAME_VOICE:
            break
        voices = more
    return voices


def _cut(tree: np.ndarray, embeddings: np.ndarray, count: int) -> np.ndarray:
    """The means of ``count`` clusters, float32 [count, D], of length 1."""
    labels = cut_tree(tree, count)[:, 0]
    voices = np.stack([_mean(embeddings[labels == number]) for number in range(count)])
    # Ward's clusters are never empty; one step of k-means corrects windows between two.
    labels = (embeddings @ voices.T).argmax(axis=1)
    return np.stack(
        [
            _mean(embeddings[labels == number]) if (labels == number).any() else voices[number]
            for number in range(count)
        ]
    )


def _mean(embeddings: np.ndarray) -> np.ndarray:
    mean = embeddings.mean(axis=0)
    return mean / np.linalg.norm(mean)


class TurnCutter:
    """Cuts the speech of each speaker at its pauses, as if the others were silent.

    Args:
        turns: Who speaks when.
        cutter: Makes a cutter for one speaker.

    Attributes:
        speech: Samples of speech so far of each speaker.
    """

    def __init__(self, turns: Turns, cutter: Callable[[], PauseCutter]) -> None:
        self.speech = [0] * turns.count
        self._speakers = turns.speakers
        self._cutters = [cutter() for _ in self.speech]
        self._number = 0

    def push(self, chunk: Chunk, is_speech: bool) -> list[Piece]:
        """Takes the next marked chunk; returns the pieces that it completes."""
        speaker = int(self._speakers[self._number])
        self._number += 1
        self.speech[speaker] += chunk.samples if is_speech else 0
        return [
            replace(piece, speaker=number)
            for number, cutter in enumerate(self._cutters)
            for piece in cutter.push(chunk, is_speech and number == speaker)
        ]

    def finish(self) -> list[Piece]:
        """The last pieces, at the end of the recording."""
        return [
            replace(piece, speaker=number)
            for number, cutter in enumerate(self._cutters)
            for piece in cutter.finish()
        ]
