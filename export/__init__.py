"""From FunASR's checkpoint to a verified model in Triton's repository."""

from export import environment

environment.prepare()
