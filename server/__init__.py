"""Starts and supervises NVIDIA Triton and the gateway, with or without a container."""
