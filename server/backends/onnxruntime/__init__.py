"""Stands in for Triton's backend of this name, which Triton requires; computes with OpenVINO."""
