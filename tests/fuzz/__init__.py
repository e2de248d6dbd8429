"""Hostile files for the decoder: attacks that are built, and good files that are damaged."""

import sys
from pathlib import Path

# As pytest and Triton do, so that `python -m tests.fuzz.decoder` finds the decoder.
sys.path.insert(0, str(Path(__file__).parents[2] / "model_repository" / "preprocess" / "1"))
