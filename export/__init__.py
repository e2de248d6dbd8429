"""Checkpoint to verified ONNX graph: run it with `python -m export`."""
