"""What the service's own onnxruntime backend does if its GPU fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import sys
from unittest import mock
sys.modules["triton_python_backend_utils"] = utils = mock.MagicMock()
utils.TritonModelException = type("TritonModelException", (Exception,), {})
from server.backends.onnxruntime import model, runtime
backend = model.TritonPythonModel()
backend._run = mock.Mock(side_effect=getattr(runtime, sys.argv[1], RuntimeError)("told"))
assert len(backend._answer([mock.Mock()], [{}])) == 1
print("refused")
"""


@pytest.mark.parametrize(
    ("error", "code", "said"), [("SpoiledError", 1, ""), ("RuntimeError", 0, "refused\n")]
)
def test_a_process_that_can_compute_nothing_more_ends_so_that_a_new_one_starts(
    error: str, code: int, said: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, error]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, said), done.stderr
