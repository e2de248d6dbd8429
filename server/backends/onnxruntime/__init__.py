"""Stands in for Triton's onnxruntime backend; Triton requires the folder to have this name.

Computes with OpenVINO on a CPU, and with ONNX Runtime on a GPU.
"""
