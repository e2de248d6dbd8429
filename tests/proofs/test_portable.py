"""The portable file in JavaScript, as docs/export.md shows it; needs Node.js and the network."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

from export.__main__ import main
from tests.conftest import ROOT, SAMPLES

RECORDING = SAMPLES / "real" / "happy.flac"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_javascript_answers_like_python(precision: str, tmp_path: Path) -> None:
    file = tmp_path / "emotion2vec.onnx"
    arguments = ["--checkpoint", "demonstration", "--precision", precision]
    assert main([*arguments, "--portable", str(file)]) == 0
    found = re.search(
        r"^```js\n(.*?)^```", (ROOT / "docs" / "export.md").read_text("utf-8"), re.M | re.S
    )
    assert found
    (tmp_path / "recognise.mjs").write_text(found[1], "utf-8")
    samples, rate = soundfile.read(RECORDING, dtype="float32")
    assert rate == 16_000
    samples.tofile(tmp_path / "speech.f32")
    for command in (["npm", "install", "onnxruntime-web"], ["node", "recognise.mjs"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    label, score = done.stdout.split()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    truth = session.run(["scores"], {"waveform": samples})[0][0]
    names = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    assert label == names[int(np.argmax(truth))]
    # In int8, another kernel rounds another way.
    assert float(score) == pytest.approx(
        float(truth.max()), abs=1e-5 if precision == "fp32" else 1e-2
    )
