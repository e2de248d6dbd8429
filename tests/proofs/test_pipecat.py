"""The recipe for Pipecat, in a real pipeline; its pins exclude ours, so it runs in an environment
of its own, which pip fills from the network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.launch import SAMPLES
from benchmarks.service import Service
from emotion2vec_client import Client
from tests.conftest import ROOT

PACKAGES = ("pipecat-ai==1.14.0", f"{ROOT / 'client'}[stream]")

PROGRAM = """
import asyncio, functools, json, sys, wave
from pipecat.frames.frames import InputAudioRawFrame
from pipecat.tests.utils import run_test

async def main(url, gateway, path):
    with wave.open(path) as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    frames = [
        InputAudioRawFrame(data[start : start + 640], rate, 1) for start in range(0, len(data), 640)
    ]
    async with AsyncClient(url) as client:
        client.stream = functools.partial(client.stream, gateway=gateway)
        received, _ = await run_test(
            EmotionProcessor(client), frames_to_send=frames, start_timeout=30
        )
    found = [frame.measurement for frame in received if isinstance(frame, EmotionFrame)]
    print(json.dumps([
        [each.start, each.end, dict(each.unwrap().scores)] for each in found if each.kind == "final"
    ]))

asyncio.run(main(*sys.argv[1:]))
"""


def test_the_recipe_for_pipecat(
    repository: Path, tmp_path: Path, show: Callable[[str], None]
) -> None:
    text = (ROOT / "docs" / "stream.md").read_text("utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [recipe] = [block for block in blocks if "pipecat" in block]
    program = tmp_path / "program.py"
    program.write_text(recipe + PROGRAM, "utf-8")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    recording = SAMPLES / "neutral.wav"  # 16 kHz, as many voice agents use.
    with Service(repository, outputs=tmp_path) as service:
        service.wait_until_ready()
        done = subprocess.run(
            [python, program, service.grpc_url, service.rest_url, recording],
            stdout=subprocess.PIPE,
            check=True,
        )
        with Client(service.grpc_url) as client:
            timeline = client.timeline(recording)
    found = json.loads(done.stdout.splitlines()[-1])
    assert [each[:2] for each in found] == [
        [segment.start, segment.end] for segment in timeline.segments
    ]
    for (_, _, scores), segment in zip(found, timeline.segments, strict=True):
        assert scores == pytest.approx(segment.scores, abs=1e-5)
    show(f"{PACKAGES[0]}: {len(found)} segments, the same as in the timeline")
