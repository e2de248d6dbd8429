"""Stands in for Triton's onnxruntime backend; Triton requires the folder to have this name.

Computes with OpenVINO.
"""
