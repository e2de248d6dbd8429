"""Turns FunASR's checkpoint into a verified model in Triton's repository."""

from export import environment

environment.prepare()
