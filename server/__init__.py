"""Starts NVIDIA Triton on this machine, without a container."""
